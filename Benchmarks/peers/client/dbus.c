/* D-Bus: signals with one array of bytes, and a match rule for each path. */
#include "client.h"

#include <stdio.h>
#include <unistd.h>

enum { CALL = 1, RETURN = 2, ERROR = 3, SIGNAL = 4, FIXED_BYTES = 16 };

static size_t aligned(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

/* One header field: its code, the type of its value, and the value. */
static size_t put_field(uint8_t *out, size_t at, int code, char type, const char *value) {
    size_t length = strlen(value);
    at = aligned(at, 8);
    memcpy(out + at, (uint8_t[]){(uint8_t)code, 1, (uint8_t)type, 0}, 4);
    at += 4;
    if (type == 'g') {
        out[at++] = (uint8_t)length;
    } else {
        write_u32(out + at, (uint32_t)length);
        at += 4;
    }
    memcpy(out + at, value, length + 1);
    return at + length + 1;
}

/* The header of a message whose body has `body` bytes. `destination` null: to all who match. */
static size_t put_header(
    uint8_t *out, int type, const char *path, const char *interface, const char *member,
    const char *destination) {
    memset(out, 0, 256);
    memcpy(out, (uint8_t[]){'l', (uint8_t)type, type == SIGNAL, 1}, 4);
    write_u32(out + 8, 1);
    size_t at = put_field(out, FIXED_BYTES, 1, 'o', path);
    at = put_field(out, at, 2, 's', interface);
    at = put_field(out, at, 3, 's', member);
    if (destination) at = put_field(out, at, 6, 's', destination);
    if (type == SIGNAL) at = put_field(out, at, 8, 'g', "ay");
    else if (strcmp(member, "AddMatch") == 0) at = put_field(out, at, 8, 'g', "s");
    write_u32(out + 12, (uint32_t)(at - FIXED_BYTES));
    return aligned(at, 8);
}

static size_t message_bytes(const uint8_t *at) {
    return aligned(FIXED_BYTES + read_u32(at + 12), 8) + read_u32(at + 4);
}

/* Waits for the answers of so many calls, and for so many signals of the bus itself. */
static void await_answers(int socket, int calls, int signals) {
    uint8_t buffer[4096];
    size_t held = 0;
    while (calls > 0 || signals > 0) {
        held += receive_some(socket, buffer + held, sizeof buffer - held);
        size_t at = 0;
        while (held - at >= FIXED_BYTES && held - at >= message_bytes(buffer + at)) {
            if (buffer[at + 1] == ERROR) fail("dbus-daemon refused a call");
            calls -= buffer[at + 1] == RETURN;
            signals -= buffer[at + 1] == SIGNAL;
            at += message_bytes(buffer + at);
        }
        memmove(buffer, buffer + at, held - at);
        held -= at;
    }
}

static void call_bus(uint8_t *request, size_t *bytes, const char *member, const char *argument) {
    static const char bus[] = "org.freedesktop.DBus";
    uint8_t *start = request + *bytes;
    size_t head = put_header(start, CALL, "/org/freedesktop/DBus", bus, member, bus);
    size_t body = 0;
    if (argument) {
        body = 4 + strlen(argument) + 1;
        write_u32(start + head, (uint32_t)strlen(argument));
        memcpy(start + head + 4, argument, strlen(argument) + 1);
    }
    write_u32(start + 4, (uint32_t)body);
    *bytes += head + body;
}

/* SASL EXTERNAL: the name is the uid, in hexadecimal of its decimal digits. */
static void greet(int socket) {
    char name[16], request[64];
    sprintf(name, "%u", (unsigned)getuid());
    int bytes = sprintf(request, "%cAUTH EXTERNAL ", 0);
    for (const char *digit = name; *digit; digit++)
        bytes += sprintf(request + bytes, "%02x", (unsigned)*digit);
    bytes += sprintf(request + bytes, "\r\n");
    send_all(socket, request, (size_t)bytes);
    expect_text(socket, "OK ", 1, "REJECTED");
    send_all(socket, "BEGIN\r\n", 7);
    uint8_t hello[512];
    size_t hello_bytes = 0;
    call_bus(hello, &hello_bytes, "Hello", NULL);
    send_all(socket, hello, hello_bytes);
    /* With the answer comes a signal with the name that the connection got. */
    await_answers(socket, 1, 1);
}

static void greet_as_subscriber(int socket, int topics) {
    greet(socket);
    uint8_t request[512 * PUBLISHERS_MAX];
    size_t bytes = 0;
    for (int topic = 0; topic < topics; topic++) {
        char rule[64];
        sprintf(rule, "type='signal',path='/bench/%d'", topic);
        call_bus(request, &bytes, "AddMatch", rule);
    }
    send_all(socket, request, bytes);
    await_answers(socket, topics, 0);
}

static size_t encode(uint8_t *out, int topic, size_t payload_bytes, size_t *payload_at) {
    char path[16];
    sprintf(path, "/bench/%d", topic);
    size_t head = put_header(out, SIGNAL, path, "bench.Peers", "Message", NULL);
    write_u32(out + 4, (uint32_t)(4 + payload_bytes));
    write_u32(out + head, (uint32_t)payload_bytes);
    *payload_at = head + 4;
    memset(out + head + 4, 'x', payload_bytes);
    return head + 4 + payload_bytes;
}

static size_t parse(const uint8_t *data, size_t bytes, struct receiver *receiver) {
    size_t at = 0;
    while (bytes - at >= FIXED_BYTES) {
        const uint8_t *message = data + at;
        size_t body = read_u32(message + 4), whole = message_bytes(message);
        if (bytes - at < whole) break;
        if (message[0] != 'l' || message[1] != SIGNAL) fail("dbus-daemon sent no signal");
        size_t length = read_u32(message + whole - body);
        if (body != 4 + length) fail("dbus-daemon sent a body of %zu bytes", body);
        count_message(receiver, message + whole - body + 4, length);
        at += whole;
    }
    return at;
}

const struct protocol dbus_protocol = {
    "dbus", false, greet, greet_as_subscriber, encode, parse};
