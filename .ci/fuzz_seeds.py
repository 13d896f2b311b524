"""Writes the vectors of the protocol, and the examples of access files in the documents, as seeds
for the fuzz targets: fuzz_seeds.py DIRECTORY"""

import json
import pathlib
import re
import struct
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


def links(vectors):
    """Scripts of Tests/TestSupport/LinkScript.swift: what an honest end says, raw and record by
    record."""
    document = json.loads((vectors / "links.json").read_text())
    for role, side in ((0, "connector"), (1, "listener")):
        yield bytes([role, 1, 0, 5, 0, 7, 0, 5, 0, 6, 60, 15, 0, 1, 0, 5, 0])
        stream = bytes.fromhex(document[side])
        pieces = [stream[at:at + 255] for at in range(0, len(stream), 255)]
        yield bytes([role]) + b"".join(bytes([0, len(piece)]) + piece for piece in pieces)
        offset = 0
        while offset < len(stream):
            kind, length = stream[offset + 5], struct.unpack_from("<I", stream, offset + 32)[0]
            body = stream[offset + 40:offset + 40 + length]
            offset += 40 + length + (32 if kind > 2 else 0)
            # Of DATA without the number of the batch and the header of the packet.
            step, text = {4: (2, body[16:]), 5: (3, body)}.get(kind, (0, body))
            yield bytes([role, 1, 0, step, len(text)]) + text


def access_files(vectors):
    top = vectors.parent.parent
    for path in ("README.md", "Protocol/access-rules.md"):
        for text in re.findall(r"```toml\n(.*?)```", (top / path).read_text(), re.DOTALL):
            if "[[rule]]" in text: yield text.encode()
    rule = 'version = 1\n[[rule]]\nuid = "any"\n'
    for lines in (
        'deny = "subscribe"\ntopics = "$SYS/#"\n',
        'gid = ["sensors", "10-20"]\nallow = ["inspect", "administer"]\n',
        'trust_domain = 1000\nlevel = "claimable"\nallow = "publish"\ntopics = """a/+"""\n',
        "origin = ['edge-*']\ndelegated = true\nallow = 'block'\ntopics = ['#', \"\\u0061/%u/#\"]\n",
        'opener_groups = 50\nallow = "publish"\ntopics = [\n "%n/#", # who\n "%o/%g/%%",\n]\n',
    ):
        yield (rule + lines).encode()
    yield b'version = 1\nrule = [{uid = 1, allow = "inspect"}]\nquota.connections = 0x10\n'


def main():
    top = pathlib.Path(sys.argv[1])
    vectors = pathlib.Path(__file__).resolve().parent.parent / "Protocol" / "vectors"
    # Targets without a row here begin with an empty corpus.
    sources = {
        "FuzzAccess": access_files, "FuzzLink": links, "FuzzPacket": packets, "FuzzTopic": topics,
    }
    for target, seeds in sources.items():
        folder = top / target
        folder.mkdir(parents=True)
        for number, seed in enumerate(seeds(vectors)):
            (folder / f"{number:04}").write_bytes(seed)


main()
