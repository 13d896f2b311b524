/* RESP, the protocol of redis: PUBLISH pipelined, SUBSCRIBE to each channel. */
#include "client.h"

#include <stdio.h>

static void greet_as_publisher(int socket) {
    /* Without it every PUBLISH is answered: that costs redis and its publisher time. */
    static const char request[] = "CLIENT REPLY OFF\r\n";
    send_all(socket, request, sizeof request - 1);
}

static void greet_as_subscriber(int socket, int topics) {
    char request[64 * PUBLISHERS_MAX];
    int bytes = sprintf(request, "*%d\r\n$9\r\nSUBSCRIBE\r\n", topics + 1);
    for (int topic = 0; topic < topics; topic++)
        bytes += sprintf(request + bytes, "$7\r\nbench/%d\r\n", topic);
    send_all(socket, request, (size_t)bytes);
    expect_text(socket, "$9\r\nsubscribe\r\n", topics, "-ERR");
}

static size_t encode(uint8_t *out, int topic, size_t payload_bytes, size_t *payload_at) {
    int head = sprintf((char *)out, "*3\r\n$7\r\nPUBLISH\r\n$7\r\nbench/%d\r\n$%zu\r\n", topic,
        payload_bytes);
    *payload_at = (size_t)head;
    return put_payload_line(out, (size_t)head, payload_bytes);
}

/* *3 $7 message $7 bench/0 $128 payload */
static size_t parse(const uint8_t *data, size_t bytes, struct receiver *receiver) {
    static const char prefix[] = "*3\r\n$7\r\nmessage\r\n$";
    const size_t prefix_bytes = sizeof prefix - 1;
    const uint8_t *at = data, *end = data + bytes;
    while ((size_t)(end - at) > prefix_bytes) {
        if (memcmp(at, prefix, prefix_bytes) != 0) fail("redis sent: %.40s", at);
        size_t length;
        const uint8_t *next = decimal_line(at + prefix_bytes, end, &length);
        if (!next || (size_t)(end - next) < length + 3) break;
        next += length + 2;
        if (*next != '$') fail("redis sent a message without a payload");
        next = decimal_line(next + 1, end, &length);
        if (!next || (size_t)(end - next) < length + 2) break;
        count_message(receiver, next, length);
        at = next + length + 2;
    }
    return (size_t)(at - data);
}

const struct protocol redis_protocol = {
    "redis", false, greet_as_publisher, greet_as_subscriber, encode, parse};
