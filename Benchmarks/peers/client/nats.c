/* The protocol of NATS: PUB with `verbose` off, SUB to each subject. */
#include "client.h"

#include <stdio.h>

static void greet(int socket) {
    static const char request[] =
        "CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":false,\"echo\":false,"
        "\"lang\":\"c\",\"version\":\"1\",\"protocol\":0}\r\nPING\r\n";
    send_all(socket, request, sizeof request - 1);
    expect_text(socket, "PONG\r\n", 1, "-ERR");
}

static void greet_as_subscriber(int socket, int topics) {
    greet(socket);
    char request[64 * PUBLISHERS_MAX];
    int bytes = 0;
    for (int topic = 0; topic < topics; topic++)
        bytes += sprintf(request + bytes, "SUB bench.%d %d\r\n", topic, topic + 1);
    bytes += sprintf(request + bytes, "PING\r\n");
    send_all(socket, request, (size_t)bytes);
    expect_text(socket, "PONG\r\n", 1, "-ERR");
}

static size_t encode(uint8_t *out, int topic, size_t payload_bytes, size_t *payload_at) {
    int head = sprintf((char *)out, "PUB bench.%d %zu\r\n", topic, payload_bytes);
    *payload_at = (size_t)head;
    return put_payload_line(out, (size_t)head, payload_bytes);
}

/* MSG bench.0 1 128 payload; the server's PING in between is passed over. */
static size_t parse(const uint8_t *data, size_t bytes, struct receiver *receiver) {
    const uint8_t *at = data, *end = data + bytes;
    while (end - at >= 6) {
        if (memcmp(at, "PING\r\n", 6) == 0) {
            at += 6;
            continue;
        }
        if (memcmp(at, "MSG ", 4) != 0) fail("nats-server sent: %.40s", at);
        const uint8_t *next = at + 4;
        for (int spaces = 0; next < end && spaces < 2; next++) spaces += *next == ' ';
        size_t length;
        next = decimal_line(next, end, &length);
        if (!next || (size_t)(end - next) < length + 2) break;
        count_message(receiver, next, length);
        at = next + length + 2;
    }
    return (size_t)(at - data);
}

const struct protocol nats_protocol = {
    "nats", false, greet, greet_as_subscriber, encode, parse};
