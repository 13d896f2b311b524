/* MQTT 3.1.1, the protocol of mosquitto: PUBLISH with QoS 0, one SUBSCRIBE. */
#include "client.h"

#include <stdio.h>
#include <unistd.h>

static void read_exactly(int socket, uint8_t *bytes, size_t count) {
    for (size_t got = 0; got < count;) got += receive_some(socket, bytes + got, count - got);
}

static void greet(int socket) {
    uint8_t request[64] = {0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, 2 /* clean */, 0, 0};
    int name = sprintf((char *)request + 14, "bench-%d", (int)getpid());
    /* Several connections of one process need names of their own. */
    static int connections;
    name += sprintf((char *)request + 14 + name, "-%d", connections++);
    request[13] = (uint8_t)name;
    request[1] = (uint8_t)(12 + name);
    send_all(socket, request, (size_t)(14 + name));
    uint8_t answer[4];
    read_exactly(socket, answer, sizeof answer);
    if (answer[0] != 0x20 || answer[3] != 0) fail("mosquitto refused with code %d", answer[3]);
}

static void greet_as_subscriber(int socket, int topics) {
    greet(socket);
    uint8_t request[16 * PUBLISHERS_MAX] = {0x82, 0, 0, 1};
    size_t bytes = 4;
    for (int topic = 0; topic < topics; topic++) {
        request[bytes + 1] = 7;
        sprintf((char *)request + bytes + 2, "bench/%d", topic);
        bytes += 10;
    }
    request[1] = (uint8_t)(bytes - 2);
    send_all(socket, request, bytes);
    uint8_t answer[4 + PUBLISHERS_MAX];
    read_exactly(socket, answer, (size_t)(4 + topics));
    for (int topic = 0; topic < topics; topic++)
        if (answer[4 + topic] != 0) fail("mosquitto refused a subscription");
}

static size_t encode(uint8_t *out, int topic, size_t payload_bytes, size_t *payload_at) {
    size_t at = 0, remaining = 2 + 7 + payload_bytes;
    out[at++] = 0x30;
    do {
        out[at++] = (uint8_t)((remaining & 127) | (remaining > 127 ? 128 : 0));
        remaining >>= 7;
    } while (remaining > 0);
    out[at++] = 0;
    out[at++] = 7;
    at += (size_t)sprintf((char *)out + at, "bench/%d", topic);
    *payload_at = at;
    memset(out + at, 'x', payload_bytes);
    return at + payload_bytes;
}

static size_t parse(const uint8_t *data, size_t bytes, struct receiver *receiver) {
    const uint8_t *at = data, *end = data + bytes;
    while (at < end) {
        if (*at != 0x30) fail("mosquitto sent a packet of type %d", *at);
        const uint8_t *next = at + 1;
        size_t remaining = 0;
        for (int shift = 0;; shift += 7) {
            if (next == end) return (size_t)(at - data);
            remaining |= (size_t)(*next & 127) << shift;
            if (*next++ < 128) break;
        }
        if ((size_t)(end - next) < remaining) break;
        size_t topic = 2 + ((size_t)next[0] << 8 | next[1]);
        if (topic > remaining) fail("mosquitto sent a packet that is too short");
        count_message(receiver, next + topic, remaining - topic);
        at = next + remaining;
    }
    return (size_t)(at - data);
}

const struct protocol mqtt_protocol = {
    "mqtt", false, greet, greet_as_subscriber, encode, parse};
