/* The reference floor: the least that a broker of this kind has to do, in C. Takes packets of many
   frames over SOCK_SEQPACKET with the credentials of each packet, puts a 64-byte attestation
   before each payload, and sends everything to every subscriber: packets are filled with what is
   there already, and nothing waits for more. It routes, decides and bounds nothing.

       relay SOCKET */
#include "floor.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    PACKETS = 64,
    SUBSCRIBERS_MAX = 64,
    SEND_BUFFER_BYTES = 1 << 20,
    /* A packet goes out when it has become as long as this. */
    FULL_BYTES = 65536,
    /* The attestation makes the shortest frame, head and stamp, 3.7 times as long. */
    ROOM_BYTES = FULL_BYTES + 4 * PACKET_BYTES_MAX,
};

struct control {
    _Alignas(struct cmsghdr) char bytes[CMSG_SPACE(sizeof(struct ucred))];
};

static struct {
    struct mmsghdr messages[PACKETS];
    struct iovec vectors[PACKETS];
    struct control controls[PACKETS];
    uint8_t *bytes[PACKETS];
} in;

static struct {
    uint8_t *bytes;
    size_t count;
} out;

static int subscribers[SUBSCRIBERS_MAX], subscriber_count;

static void require(bool good, const char *what) {
    if (good) return;
    fprintf(stderr, "relay: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint32_t read_u32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, 4);
    return value;
}

static void write_u32(uint8_t *at, uint32_t value) { memcpy(at, &value, 4); }

static struct ucred credentials_of(struct msghdr *message) {
    struct cmsghdr *control = CMSG_FIRSTHDR(message);
    require(
        control && control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_CREDENTIALS,
        "a packet without credentials");
    struct ucred credentials;
    memcpy(&credentials, CMSG_DATA(control), sizeof credentials);
    return credentials;
}

static void send_to_all(void) {
    for (int index = 0; index < subscriber_count && out.count > 0; index++) {
        ssize_t sent = send(subscribers[index], out.bytes, out.count, MSG_NOSIGNAL);
        require(sent > 0 || errno == EPIPE || errno == ECONNRESET, "send");
    }
    out.count = 0;
}

static void reframe(const uint8_t *from, size_t bytes, struct ucred sender) {
    uint8_t attestation[ATTESTATION_BYTES] = {0};
    memcpy(attestation, &sender, sizeof sender);
    size_t at = 0;
    while (bytes - at >= FRAME_HEAD_BYTES) {
        size_t whole = read_u32(from + at);
        require(
            whole >= FRAME_HEAD_BYTES && whole <= bytes - at
                && read_u32(from + at + 4) == KIND_PUBLISH,
            "a broken frame");
        uint8_t *frame = out.bytes + out.count;
        write_u32(frame, (uint32_t)(whole + ATTESTATION_BYTES));
        write_u32(frame + 4, KIND_DELIVER);
        memcpy(frame + FRAME_HEAD_BYTES, attestation, ATTESTATION_BYTES);
        memcpy(frame + FRAME_HEAD_BYTES + ATTESTATION_BYTES, from + at + FRAME_HEAD_BYTES,
            whole - FRAME_HEAD_BYTES);
        at += whole;
        out.count += whole + ATTESTATION_BYTES;
    }
    require(at == bytes, "a packet with bytes left over");
}

/* A connection says first what it is. */
static void introduce(int client, size_t bytes) {
    uint32_t kind = read_u32(in.bytes[0] + 4);
    require(bytes == FRAME_HEAD_BYTES, "a greeting");
    if (kind == KIND_I_SUBSCRIBE) {
        require(subscriber_count < SUBSCRIBERS_MAX, "too many subscribers");
        subscribers[subscriber_count++] = client;
    }
    require(send(client, in.bytes[0], bytes, MSG_NOSIGNAL) == (ssize_t)bytes, "send");
}

static void forget(int client) {
    for (int index = 0; index < subscriber_count; index++)
        if (subscribers[index] == client) subscribers[index--] = subscribers[--subscriber_count];
    close(client);
}

static void relay_from(int client) {
    for (int index = 0; index < PACKETS; index++)
        in.messages[index].msg_hdr.msg_controllen = sizeof in.controls[index].bytes;
    int count = recvmmsg(client, in.messages, PACKETS, MSG_DONTWAIT, NULL);
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0 || in.messages[0].msg_len == 0) {
        forget(client);
        return;
    }
    if (read_u32(in.bytes[0] + 4) != KIND_PUBLISH) {
        introduce(client, in.messages[0].msg_len);
        return;
    }
    /* At the end of the stream the last of the packets is empty. */
    for (int index = 0; index < count && in.messages[index].msg_len > 0; index++) {
        size_t bytes = in.messages[index].msg_len;
        if (out.count > 0 && out.count + bytes > FULL_BYTES) send_to_all();
        reframe(in.bytes[index], bytes, credentials_of(&in.messages[index].msg_hdr));
    }
    send_to_all();
}

static void prepare_buffers(void) {
    out.bytes = malloc(ROOM_BYTES);
    for (int index = 0; index < PACKETS; index++) {
        in.bytes[index] = malloc(PACKET_BYTES_MAX);
        in.vectors[index] = (struct iovec){in.bytes[index], PACKET_BYTES_MAX};
        in.messages[index].msg_hdr = (struct msghdr){
            .msg_iov = &in.vectors[index], .msg_iovlen = 1,
            .msg_control = in.controls[index].bytes};
    }
}

static int listen_at(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    require(strlen(path) < sizeof address.sun_path, "the path of the socket");
    strcpy(address.sun_path, path);
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), on = 1;
    require(
        bind(listener, (struct sockaddr *)&address, sizeof address) == 0
            && setsockopt(listener, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0
            && listen(listener, 128) == 0,
        path);
    return listener;
}

static void watch(int events, int descriptor) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
    require(epoll_ctl(events, EPOLL_CTL_ADD, descriptor, &event) == 0, "epoll_ctl");
}

int main(int count, char **arguments) {
    if (count != 2) {
        fputs("usage: relay SOCKET\n", stderr);
        return 64;
    }
    prepare_buffers();
    int listener = listen_at(arguments[1]), events = epoll_create1(EPOLL_CLOEXEC);
    int buffer = SEND_BUFFER_BYTES;
    watch(events, listener);
    for (;;) {
        struct epoll_event ready[16];
        int number = epoll_wait(events, ready, 16, -1);
        for (int index = 0; index < number; index++) {
            if (ready[index].data.fd != listener) {
                relay_from(ready[index].data.fd);
                continue;
            }
            int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            require(client >= 0, "accept4");
            setsockopt(client, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
            watch(events, client);
        }
    }
}
