"""Writes the vectors of the protocol as seeds for the fuzz targets: fuzz_seeds.py DIRECTORY"""

import json
import pathlib
import sys


def texts(entry):
    return bytes.fromhex(entry["hex"]) if "hex" in entry else entry["text"].encode()


def packets(vectors):
    for name in ("packets-valid.json", "packets-invalid.json"):
        for vector in json.loads((vectors / name).read_text())["packets"]:
            yield bytes.fromhex(vector["hex"])


def topics(vectors):
    document = json.loads((vectors / "topics.json").read_text())
    yield from map(texts, document["names"] + document["filters"])
    for match in document["matches"]:
        yield match["filter"].encode() + b"\0" + match["topic"].encode()


def main():
    top = pathlib.Path(sys.argv[1])
    vectors = pathlib.Path(__file__).resolve().parent.parent / "Protocol" / "vectors"
    # Targets without a row here begin with an empty corpus.
    for target, seeds in {"FuzzPacket": packets, "FuzzTopic": topics}.items():
        folder = top / target
        folder.mkdir(parents=True)
        for number, seed in enumerate(seeds(vectors)):
            (folder / f"{number:04}").write_bytes(seed)


main()
