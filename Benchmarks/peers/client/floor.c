/* The client of the reference relay: packets of many frames over SOCK_SEQPACKET. */
#include "client.h"
#include "floor.h"

static void say(int socket, uint32_t kind) {
    uint8_t frame[FRAME_HEAD_BYTES];
    write_u32(frame, sizeof frame);
    write_u32(frame + 4, kind);
    send_all(socket, frame, sizeof frame);
    /* The relay answers with the same, when it knows us. */
    uint8_t answer[FRAME_HEAD_BYTES + 1];
    if (receive_some(socket, answer, sizeof answer) != sizeof frame
        || memcmp(answer, frame, sizeof frame) != 0)
        fail("the relay answered wrongly");
}

static void greet_as_publisher(int socket) { say(socket, KIND_I_PUBLISH); }

static void greet_as_subscriber(int socket, int topics) {
    (void)topics;
    say(socket, KIND_I_SUBSCRIBE);
}

static size_t encode(uint8_t *out, int topic, size_t payload_bytes, size_t *payload_at) {
    (void)topic;
    write_u32(out, (uint32_t)(FRAME_HEAD_BYTES + payload_bytes));
    write_u32(out + 4, KIND_PUBLISH);
    *payload_at = FRAME_HEAD_BYTES;
    memset(out + FRAME_HEAD_BYTES, 'x', payload_bytes);
    return FRAME_HEAD_BYTES + payload_bytes;
}

static size_t parse(const uint8_t *data, size_t bytes, struct receiver *receiver) {
    const size_t head = FRAME_HEAD_BYTES + ATTESTATION_BYTES;
    size_t at = 0;
    while (bytes - at >= head) {
        size_t whole = read_u32(data + at);
        if (whole < head || whole > bytes - at || read_u32(data + at + 4) != KIND_DELIVER)
            fail("the relay sent a broken frame");
        count_message(receiver, data + at + head, whole - head);
        at += whole;
    }
    if (at != bytes) fail("the relay sent a packet with %zu bytes left over", bytes - at);
    return at;
}

const struct protocol floor_protocol = {
    "floor", true, greet_as_publisher, greet_as_subscriber, encode, parse};
