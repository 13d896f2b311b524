/* The reference floor: the least that a broker of this kind has to do, in C. Takes packets of many
   frames over SOCK_SEQPACKET with the credentials of each packet, puts a 64-byte attestation
   before each payload, and sends everything to every subscriber. It routes, decides and bounds
   nothing.

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

enum { PACKETS = 8, SUBSCRIBERS_MAX = 64, SEND_BUFFER_BYTES = 1 << 20 };

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
    struct mmsghdr messages[PACKETS];
    struct iovec vectors[PACKETS];
    uint8_t *bytes[PACKETS];
    size_t room;
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

/* Returns how long the packet has become. */
static size_t reframe(const uint8_t *from, size_t bytes, uint8_t *to, struct ucred sender) {
    uint8_t attestation[ATTESTATION_BYTES] = {0};
    memcpy(attestation, &sender, sizeof sender);
    size_t at = 0, written = 0;
    while (bytes - at >= FRAME_HEAD_BYTES) {
        size_t whole = read_u32(from + at);
        require(
            whole >= FRAME_HEAD_BYTES && whole <= bytes - at
                && written + whole + ATTESTATION_BYTES <= out.room
                && read_u32(from + at + 4) == KIND_PUBLISH,
            "a broken frame");
        uint8_t *frame = to + written;
        write_u32(frame, (uint32_t)(whole + ATTESTATION_BYTES));
        write_u32(frame + 4, KIND_DELIVER);
        memcpy(frame + FRAME_HEAD_BYTES, attestation, ATTESTATION_BYTES);
        memcpy(frame + FRAME_HEAD_BYTES + ATTESTATION_BYTES, from + at + FRAME_HEAD_BYTES,
            whole - FRAME_HEAD_BYTES);
        at += whole;
        written += whole + ATTESTATION_BYTES;
    }
    require(at == bytes, "a packet with bytes left over");
    return written;
}

static void send_to_all(int count) {
    for (int index = 0; index < subscriber_count; index++) {
        for (int sent = 0; sent < count;) {
            int now = sendmmsg(subscribers[index], out.messages + sent, (unsigned)(count - sent),
                MSG_NOSIGNAL);
            if (now < 0 && (errno == EPIPE || errno == ECONNRESET)) break;
            require(now > 0, "sendmmsg");
            sent += now;
        }
    }
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
    int filled = 0;
    /* At the end of the stream the last of the packets is empty. */
    for (; filled < count && in.messages[filled].msg_len > 0; filled++) {
        struct ucred sender = credentials_of(&in.messages[filled].msg_hdr);
        out.vectors[filled].iov_len = reframe(
            in.bytes[filled], in.messages[filled].msg_len, out.bytes[filled], sender);
    }
    send_to_all(filled);
}

static void prepare_buffers(void) {
    /* A frame of one stamp becomes almost four times as long. */
    out.room = 4 * PACKET_BYTES_MAX;
    for (int index = 0; index < PACKETS; index++) {
        in.bytes[index] = malloc(PACKET_BYTES_MAX);
        out.bytes[index] = malloc(out.room);
        in.vectors[index] = (struct iovec){in.bytes[index], PACKET_BYTES_MAX};
        out.vectors[index] = (struct iovec){out.bytes[index], 0};
        in.messages[index].msg_hdr = (struct msghdr){
            .msg_iov = &in.vectors[index], .msg_iovlen = 1,
            .msg_control = in.controls[index].bytes};
        out.messages[index].msg_hdr =
            (struct msghdr){.msg_iov = &out.vectors[index], .msg_iovlen = 1};
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
