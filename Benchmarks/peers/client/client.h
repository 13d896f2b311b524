/* What the clients of all peers share: sockets, numbered payloads and the window. */
#ifndef PEERS_CLIENT_H
#define PEERS_CLIENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

enum { PUBLISHERS_MAX = 8, SUBSCRIBERS_MAX = 64 };

/* Each payload begins with the publisher and with the number of the message, or in latency runs
   the time at which it was due. */
enum { STAMP_BYTES = 16 };

/* What a subscriber has seen. */
struct receiver {
    uint64_t received;
    uint64_t received_from[PUBLISHERS_MAX];
    uint64_t next[PUBLISHERS_MAX];
    uint64_t disordered;
    /* Latency at a fixed rate: the stamp is a time and goes into `delays`. */
    uint32_t *delays;
    uint64_t delays_max;
    uint64_t now;
    size_t payload_bytes;
};

struct protocol {
    const char *name;
    bool packets; /* SOCK_SEQPACKET: one batch is one packet */
    void (*greet_as_publisher)(int socket);
    /* Returns when everything published from now on will arrive. */
    void (*greet_as_subscriber)(int socket, int topics);
    /* Writes one message and says how long it is and where its payload begins. */
    size_t (*encode)(uint8_t *out, int topic, size_t payload_bytes, size_t *payload_at);
    /* Counts all complete messages and returns how many bytes they were. */
    size_t (*parse)(const uint8_t *data, size_t bytes, struct receiver *);
};

extern const struct protocol redis_protocol, nats_protocol, mqtt_protocol, dbus_protocol,
    floor_protocol;

/* Ends the process with a message. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

void send_all(int socket, const void *bytes, size_t count);
/* Waits for at least one byte; returns 0 if the socket has a time limit and it is over. */
size_t receive_some(int socket, void *bytes, size_t room);
/* Reads lines until `text` has come `times` times, or fails when `refusal` comes. */
void expect_text(int socket, const char *text, int times, const char *refusal);

static inline uint64_t monotonic_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline void write_stamp(uint8_t *payload, uint64_t publisher, uint64_t value) {
    memcpy(payload, &publisher, 8);
    memcpy(payload + 8, &value, 8);
}

/* Every parser calls this for every message. */
static inline void count_message(struct receiver *receiver, const uint8_t *payload, size_t bytes) {
    uint64_t publisher, value;
    if (bytes != receiver->payload_bytes) fail("a payload of %zu bytes arrived", bytes);
    memcpy(&publisher, payload, 8);
    memcpy(&value, payload + 8, 8);
    if (publisher >= PUBLISHERS_MAX) fail("a payload arrived that nobody sent");
    if (receiver->delays) {
        if (receiver->received < receiver->delays_max) {
            uint64_t delay = receiver->now > value ? receiver->now - value : 0;
            receiver->delays[receiver->received] = delay < UINT32_MAX ? (uint32_t)delay : UINT32_MAX;
        }
    } else {
        if (value < receiver->next[publisher]) receiver->disordered++;
        receiver->next[publisher] = value + 1;
        receiver->received_from[publisher]++;
    }
    receiver->received++;
}

static inline uint32_t read_u32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, 4);
    return value;
}

static inline void write_u32(uint8_t *at, uint32_t value) { memcpy(at, &value, 4); }

/* A payload that ends with CR LF. Returns where the message ends. */
static inline size_t put_payload_line(uint8_t *out, size_t at, size_t payload_bytes) {
    memset(out + at, 'x', payload_bytes);
    memcpy(out + at + payload_bytes, "\r\n", 2);
    return at + payload_bytes + 2;
}

/* A decimal number that ends with CR LF. Returns what follows it, or null if it is cut off. */
static inline const uint8_t *decimal_line(
    const uint8_t *at, const uint8_t *end, size_t *value) {
    size_t number = 0;
    while (at < end && *at >= '0' && *at <= '9') number = number * 10 + (size_t)(*at++ - '0');
    if (end - at < 2) return NULL;
    if (at[0] != '\r' || at[1] != '\n') fail("a number ends with byte %d", at[0]);
    *value = number;
    return at + 2;
}

#endif
