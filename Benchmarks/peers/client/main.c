/* A publisher or subscriber of the comparison. Says `ready`, waits for a line if it publishes,
   prints its result as one line of JSON: the manners of `broker bench`.

       client PROTOCOL publish|subscribe|latency ADDRESS [--option number]... [--window file] */
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { RECEIVE_BYTES = 1 << 20, SEND_BUFFER_BYTES = 1 << 20 };

struct settings {
    const struct protocol *protocol;
    const char *address;
    const char *window_file;
    uint64_t messages, size, batch, batch_bytes, publisher, publishers, subscriber, subscribers;
    uint64_t rate, window, patience_seconds;
};

/* Shared by all processes of a run: what each subscriber has received of each publisher. A
   publisher stays at most `window` messages ahead of the slowest subscriber, so that no broker
   has a reason to lose or to pile up. Each subscriber writes a cache line of its own. */
struct progress {
    _Alignas(64) _Atomic uint64_t received[PUBLISHERS_MAX];
};

void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("peers client: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(1);
}

void send_all(int socket, const void *bytes, size_t count) {
    const uint8_t *at = bytes;
    while (count > 0) {
        ssize_t sent = send(socket, at, count, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) fail("send: %s", strerror(errno));
        at += sent;
        count -= (size_t)sent;
    }
}

size_t receive_some(int socket, void *bytes, size_t room) {
    ssize_t got;
    do got = recv(socket, bytes, room, 0);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EAGAIN) return 0;
    if (got < 0) fail("recv: %s", strerror(errno));
    if (got == 0) fail("the broker closed the connection");
    return (size_t)got;
}

void expect_text(int socket, const char *text, int times, const char *refusal) {
    char buffer[16384];
    size_t held = 0;
    for (;;) {
        if (held == sizeof buffer - 1) fail("no `%s` came", text);
        held += receive_some(socket, buffer + held, sizeof buffer - 1 - held);
        buffer[held] = 0;
        int seen = 0;
        /* What the server says of itself has no zero bytes. */
        for (const char *at = buffer; (at = strstr(at, text)); at++) seen++;
        if (strstr(buffer, refusal)) fail("the broker refused: %s", buffer);
        if (seen >= times && buffer[held - 1] == '\n') return;
    }
}

static int connect_to(const struct settings *settings) {
    int buffer = SEND_BUFFER_BYTES;
    int type = settings->protocol->packets ? SOCK_SEQPACKET : SOCK_STREAM;
    int fd;
    if (settings->address[0] == '/') {
        struct sockaddr_un local = {.sun_family = AF_UNIX};
        if (strlen(settings->address) >= sizeof local.sun_path) fail("the path is too long");
        strcpy(local.sun_path, settings->address);
        fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
        if (settings->protocol->packets)
            setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
        if (connect(fd, (struct sockaddr *)&local, sizeof local) < 0)
            fail("%s: %s", settings->address, strerror(errno));
    } else {
        struct sockaddr_in remote = {
            .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(settings->address)),
            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int on = 1;
        fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (connect(fd, (struct sockaddr *)&remote, sizeof remote) < 0)
            fail("port %s: %s", settings->address, strerror(errno));
    }
    return fd;
}

static void say_ready(void) {
    puts("ready");
    fflush(stdout);
}

static void wait_for_go(void) {
    char line[16];
    if (!fgets(line, sizeof line, stdin)) exit(1);
}

static struct progress *map_progress(const struct settings *settings) {
    size_t bytes = SUBSCRIBERS_MAX * sizeof(struct progress);
    int fd = open(settings->window_file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
        fail("%s: %s", settings->window_file, strerror(errno));
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) fail("mmap: %s", strerror(errno));
    close(fd);
    return at;
}

/* Publishing */

static void await_window(
    const struct settings *settings, const struct progress *progress, uint64_t sent_after) {
    for (uint64_t index = 0; index < settings->subscribers; index++) {
        const _Atomic uint64_t *received = &progress[index].received[settings->publisher];
        while (sent_after > atomic_load_explicit(received, memory_order_acquire) + settings->window)
            nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    }
}

/* One batch of encoded messages whose numbers are written before each use. */
struct batch {
    uint8_t *bytes;
    size_t messages, stride, payload_at;
};

static struct batch make_batch(const struct settings *settings) {
    struct batch batch = {.messages = settings->batch};
    uint8_t *one = malloc(settings->size + 1024);
    batch.stride =
        settings->protocol->encode(one, (int)settings->publisher, settings->size, &batch.payload_at);
    if (batch.messages == 0) batch.messages = settings->batch_bytes / batch.stride;
    if (batch.messages == 0) batch.messages = 1;
    batch.bytes = malloc(batch.messages * batch.stride);
    for (size_t index = 0; index < batch.messages; index++)
        memcpy(batch.bytes + index * batch.stride, one, batch.stride);
    free(one);
    return batch;
}

static void stamp(const struct batch *batch, size_t index, uint64_t publisher, uint64_t value) {
    write_stamp(batch->bytes + index * batch->stride + batch->payload_at, publisher, value);
}

static void publish(const struct settings *settings) {
    int socket = connect_to(settings);
    settings->protocol->greet_as_publisher(socket);
    struct progress *progress = map_progress(settings);
    struct batch batch = make_batch(settings);
    say_ready();
    wait_for_go();
    uint64_t start = monotonic_nanoseconds();
    for (uint64_t sent = 0; sent < settings->messages;) {
        uint64_t count = settings->messages - sent;
        if (count > batch.messages) count = batch.messages;
        await_window(settings, progress, sent + count);
        for (uint64_t index = 0; index < count; index++)
            stamp(&batch, index, settings->publisher, sent + index);
        send_all(socket, batch.bytes, count * batch.stride);
        sent += count;
    }
    printf("{\"sent\":%lu,\"start\":%lu,\"end\":%lu}\n", settings->messages, start,
        monotonic_nanoseconds());
    fflush(stdout);
    /* The connection stays open until everything has arrived. */
    wait_for_go();
}

/* Subscribing */

struct inbox {
    int socket;
    uint8_t *bytes;
    size_t held;
    struct receiver receiver;
    const struct protocol *protocol;
};

static struct inbox open_inbox(const struct settings *settings) {
    struct inbox inbox = {.socket = connect_to(settings), .protocol = settings->protocol};
    inbox.bytes = malloc(RECEIVE_BYTES);
    inbox.receiver.payload_bytes = settings->size;
    inbox.protocol->greet_as_subscriber(inbox.socket, (int)settings->publishers);
    return inbox;
}

/* What has not come for this long is lost. */
static void be_patient(const struct inbox *inbox, uint64_t seconds) {
    struct timeval patience = {.tv_sec = (time_t)seconds};
    setsockopt(inbox->socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
}

/* Returns whether anything came before patience ended. */
static bool receive_more(struct inbox *inbox) {
    size_t got = receive_some(
        inbox->socket, inbox->bytes + inbox->held, RECEIVE_BYTES - inbox->held);
    inbox->held += got;
    if (inbox->receiver.delays) inbox->receiver.now = monotonic_nanoseconds();
    size_t parsed = inbox->protocol->parse(inbox->bytes, inbox->held, &inbox->receiver);
    inbox->held -= parsed;
    memmove(inbox->bytes, inbox->bytes + parsed, inbox->held);
    return got > 0;
}

static void subscribe(const struct settings *settings) {
    struct inbox inbox = open_inbox(settings);
    struct progress *progress = map_progress(settings) + settings->subscriber;
    const struct receiver *receiver = &inbox.receiver;
    be_patient(&inbox, settings->patience_seconds);
    say_ready();
    uint64_t expected = settings->messages * settings->publishers;
    while (receiver->received < expected && receive_more(&inbox)) {
        for (uint64_t from = 0; from < settings->publishers; from++)
            atomic_store_explicit(
                &progress->received[from], receiver->received_from[from], memory_order_release);
    }
    printf("{\"received\":%lu,\"disordered\":%lu,\"end\":%lu}\n", receiver->received,
        receiver->disordered, monotonic_nanoseconds());
}

/* Latency: one process with two connections */

struct schedule {
    const struct settings *settings;
    int socket;
};

/* Open loop: each message has a time at which it is due and is measured from then on, so that a
   stall is seen by all the messages it delays. */
static void *publish_on_schedule(void *argument) {
    const struct schedule *schedule = argument;
    struct batch one = make_batch(schedule->settings);
    uint64_t interval = 1000000000u / schedule->settings->rate;
    uint64_t due = monotonic_nanoseconds();
    for (uint64_t index = 0; index < schedule->settings->messages; index++) {
        due += interval;
        struct timespec time = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
        stamp(&one, 0, 0, due);
        send_all(schedule->socket, one.bytes, one.stride);
    }
    return NULL;
}

static int compare_delays(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static double percentile(const uint32_t *sorted, uint64_t count, double percent) {
    uint64_t index = (uint64_t)(percent / 100 * (double)count);
    return sorted[index < count ? index : count - 1] / 1000.0;
}

static void one_in_flight(
    const struct settings *settings, int socket, struct inbox *inbox, uint32_t *delays) {
    struct batch one = make_batch(settings);
    for (uint64_t index = 0; index < settings->messages; index++) {
        uint64_t start = monotonic_nanoseconds();
        stamp(&one, 0, 0, index);
        send_all(socket, one.bytes, one.stride);
        while (inbox->receiver.received <= index && receive_more(inbox)) {}
        delays[index] = (uint32_t)(monotonic_nanoseconds() - start);
    }
}

static void latency(struct settings *settings) {
    settings->batch = 1;
    struct inbox inbox = open_inbox(settings);
    be_patient(&inbox, settings->patience_seconds);
    int socket = connect_to(settings);
    settings->protocol->greet_as_publisher(socket);
    uint32_t *delays = calloc(settings->messages, sizeof *delays);
    say_ready();
    wait_for_go();
    if (settings->rate == 0) {
        one_in_flight(settings, socket, &inbox, delays);
    } else {
        struct schedule schedule = {settings, socket};
        inbox.receiver.delays = delays;
        inbox.receiver.delays_max = settings->messages;
        pthread_t thread;
        if (pthread_create(&thread, NULL, publish_on_schedule, &schedule) != 0)
            fail("no thread can be started");
        while (inbox.receiver.received < settings->messages && receive_more(&inbox)) {}
        pthread_join(thread, NULL);
    }
    qsort(delays, settings->messages, sizeof *delays, compare_delays);
    printf("{\"received\":%lu,\"disordered\":%lu,\"p50\":%.3f,\"p99\":%.3f,\"p999\":%.3f}\n",
        inbox.receiver.received, inbox.receiver.disordered,
        percentile(delays, settings->messages, 50), percentile(delays, settings->messages, 99),
        percentile(delays, settings->messages, 99.9));
}

/* The command line */

static void read_option(struct settings *settings, const char *name, const char *value) {
    struct {
        const char *name;
        uint64_t *number;
    } options[] = {
        {"--messages", &settings->messages}, {"--size", &settings->size},
        {"--batch", &settings->batch}, {"--batch-bytes", &settings->batch_bytes},
        {"--publisher", &settings->publisher}, {"--publishers", &settings->publishers},
        {"--subscriber", &settings->subscriber}, {"--subscribers", &settings->subscribers},
        {"--rate", &settings->rate}, {"--window", &settings->window},
        {"--patience", &settings->patience_seconds},
    };
    if (strcmp(name, "--window-file") == 0) {
        settings->window_file = value;
        return;
    }
    for (size_t index = 0; index < sizeof options / sizeof *options; index++) {
        if (strcmp(name, options[index].name) == 0) {
            *options[index].number = strtoull(value, NULL, 10);
            return;
        }
    }
    fail("no such option: %s", name);
}

static const struct protocol *protocol_named(const char *name) {
    const struct protocol *all[] = {
        &redis_protocol, &nats_protocol, &mqtt_protocol, &dbus_protocol, &floor_protocol};
    for (size_t index = 0; index < sizeof all / sizeof *all; index++)
        if (strcmp(name, all[index]->name) == 0) return all[index];
    fail("no such protocol: %s", name);
}

int main(int count, char **arguments) {
    struct settings settings = {
        .messages = 1000000, .size = 128, .batch_bytes = 65536, .publishers = 1,
        .subscribers = 1, .window = 65536, .patience_seconds = 10};
    if (count < 4 || count % 2 != 0)
        fail("usage: client PROTOCOL publish|subscribe|latency ADDRESS [--option number]...");
    settings.protocol = protocol_named(arguments[1]);
    settings.address = arguments[3];
    for (int index = 4; index < count; index += 2)
        read_option(&settings, arguments[index], arguments[index + 1]);
    if (settings.size < STAMP_BYTES || settings.publishers > PUBLISHERS_MAX
        || settings.subscribers > SUBSCRIBERS_MAX || settings.messages == 0)
        fail("a number is out of range");
    if (strcmp(arguments[2], "publish") == 0) publish(&settings);
    else if (strcmp(arguments[2], "subscribe") == 0) subscribe(&settings);
    else if (strcmp(arguments[2], "latency") == 0) latency(&settings);
    else fail("no such role: %s", arguments[2]);
    return 0;
}
