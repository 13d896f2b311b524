#include "CLinux.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <string.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

_Static_assert(sizeof(struct clinux_ucred) == sizeof(struct ucred), "ucred");
_Static_assert(offsetof(struct clinux_ucred, pid) == offsetof(struct ucred, pid), "pid");
_Static_assert(offsetof(struct clinux_ucred, uid) == offsetof(struct ucred, uid), "uid");
_Static_assert(offsetof(struct clinux_ucred, gid) == offsetof(struct ucred, gid), "gid");
_Static_assert(sizeof(struct clinux_mmsghdr) == sizeof(struct mmsghdr), "mmsghdr");
_Static_assert(
    offsetof(struct clinux_mmsghdr, msg_len) == offsetof(struct mmsghdr, msg_len), "msg_len");
// Two headers with their data, and the padding behind each.
_Static_assert(offsetof(struct clinux_usual_control, time_level)
    == offsetof(struct cmsghdr, cmsg_level), "time_level");
_Static_assert(offsetof(struct clinux_usual_control, time_type)
    == offsetof(struct cmsghdr, cmsg_type), "time_type");
_Static_assert(offsetof(struct clinux_usual_control, time) == CMSG_LEN(0), "time");
_Static_assert(offsetof(struct clinux_usual_control, credentials_length)
    == CMSG_SPACE(sizeof(struct timespec)), "credentials_length");
_Static_assert(offsetof(struct clinux_usual_control, credentials)
    == CMSG_SPACE(sizeof(struct timespec)) + CMSG_LEN(0), "credentials");
_Static_assert(sizeof(struct clinux_usual_control)
    == CMSG_SPACE(sizeof(struct timespec)) + CMSG_SPACE(sizeof(struct ucred)), "both");
_Static_assert(sizeof(((struct cmsghdr *)0)->cmsg_len) == sizeof(uint64_t), "cmsg_len");
_Static_assert(SCM_CREDENTIALS == 2, "SCM_CREDENTIALS");
_Static_assert(SO_TIMESTAMPNS == 35, "SO_TIMESTAMPNS");
_Static_assert(SO_PEERGROUPS == 59, "SO_PEERGROUPS");
_Static_assert(O_PATH == 010000000, "O_PATH");

// linux/pidfd.h and linux/nsfs.h, of kernels newer than the headers we may be built with.
#define CLINUX_PIDFD_GET_USER_NAMESPACE _IO(0xFF, 9)
#define CLINUX_NS_GET_OWNER_UID _IO(0xb7, 0x4)
#define CLINUX_PIDFD_INFO_PID (1ULL << 0)

// struct pidfd_info as first published (64 bytes); the kernel accepts every size from it on.
struct clinux_pidfd_info {
    uint64_t mask;
    uint64_t cgroupid;
    uint32_t pid;
    uint32_t tgid;
    uint32_t ppid;
    uint32_t ids[8];
    int32_t exit_code;
};
_Static_assert(sizeof(struct clinux_pidfd_info) == 64, "PIDFD_INFO_SIZE_VER0");
#define CLINUX_PIDFD_GET_INFO _IOWR(0xFF, 11, struct clinux_pidfd_info)

size_t clinux_cmsg_space(size_t bytes) { return CMSG_SPACE(bytes); }

size_t clinux_cmsg_len(size_t bytes) { return CMSG_LEN(bytes); }

struct cmsghdr *clinux_cmsg_first(struct msghdr *message) { return CMSG_FIRSTHDR(message); }

struct cmsghdr *clinux_cmsg_next(struct msghdr *message, struct cmsghdr *current) {
    return CMSG_NXTHDR(message, current);
}

const unsigned char *clinux_cmsg_data(const struct cmsghdr *header) { return CMSG_DATA(header); }

int clinux_accept4(int fd, int flags) { return accept4(fd, NULL, NULL, flags); }

int clinux_recvmmsg(int fd, struct clinux_mmsghdr *messages, unsigned int count, int flags) {
    return recvmmsg(fd, (struct mmsghdr *)messages, count, flags, NULL);
}

int clinux_sendmmsg4(
    int fd, struct iovec first, struct iovec second, struct iovec third, struct iovec fourth,
    unsigned int count, int flags) {
    struct iovec vectors[4] = {first, second, third, fourth};
    struct mmsghdr messages[4];
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < 4; i++) {
        messages[i].msg_hdr.msg_iov = &vectors[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    return sendmmsg(fd, messages, count < 4 ? count : 4, flags);
}

// Fills `address` and returns its length, or 0 with errno set.
static socklen_t path_address(const char *path, struct sockaddr_un *address) {
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof address->sun_path) {
        errno = length == 0 ? ENOENT : ENAMETOOLONG;
        return 0;
    }
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, length + 1);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
}

int clinux_bind_path(int fd, const char *path) {
    struct sockaddr_un address;
    socklen_t length = path_address(path, &address);
    return length == 0 ? -1 : bind(fd, (const struct sockaddr *)&address, length);
}

int clinux_connect_path(int fd, const char *path) {
    struct sockaddr_un address;
    socklen_t length = path_address(path, &address);
    return length == 0 ? -1 : connect(fd, (const struct sockaddr *)&address, length);
}

static ssize_t send_datagram(
    int fd, const struct sockaddr_un *address, socklen_t length, const void *bytes, size_t count,
    int milliseconds) {
    struct timeval time = {milliseconds / 1000, milliseconds % 1000 * 1000};
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time) < 0) return -1;
    int flags = MSG_NOSIGNAL | (milliseconds == 0 ? MSG_DONTWAIT : 0);
    return sendto(fd, bytes, count, flags, (const struct sockaddr *)address, length);
}

ssize_t clinux_notify(const char *name, const void *bytes, size_t count, int milliseconds) {
    struct sockaddr_un address;
    socklen_t length = path_address(name, &address);
    if (length == 0) return -1;
    if (name[0] == '@') {
        address.sun_path[0] = 0;
        length--;
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    ssize_t sent = send_datagram(fd, &address, length, bytes, count, milliseconds);
    int error = errno;
    close(fd);
    errno = error;
    return sent;
}

int clinux_resolve(
    const char *host, const char *port, int flags, struct clinux_address *addresses, int count,
    const char **reason) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
    hints.ai_flags = AI_NUMERICSERV | flags;
    struct addrinfo *found = NULL;
    int error = getaddrinfo(host, port, &hints, &found);
    if (error != 0) {
        *reason = gai_strerror(error);
        return -1;
    }
    int written = 0;
    for (struct addrinfo *next = found; next != NULL && written < count; next = next->ai_next) {
        if (next->ai_addrlen > sizeof addresses->bytes) continue;
        memcpy(addresses[written].bytes, next->ai_addr, next->ai_addrlen);
        addresses[written].length = next->ai_addrlen;
        written += 1;
    }
    freeaddrinfo(found);
    return written;
}

static int open_tcp(const struct clinux_address *address, struct sockaddr_storage *socket_address) {
    memset(socket_address, 0, sizeof *socket_address);
    memcpy(socket_address, address->bytes, address->length);
    return socket(socket_address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

// Closes `fd` if something went wrong with it, and keeps the reason.
static int keep_or_close(int fd, int result) {
    if (result >= 0) return fd;
    int reason = errno;
    close(fd);
    errno = reason;
    return -1;
}

int clinux_tcp_connect(const struct clinux_address *address) {
    struct sockaddr_storage target;
    int fd = open_tcp(address, &target);
    if (fd < 0) return -1;
    int result = connect(fd, (const struct sockaddr *)&target, address->length);
    if (result < 0 && errno == EINPROGRESS) result = 0;
    return keep_or_close(fd, result);
}

int clinux_tcp_share_port(int fd, int is_shared) {
    return setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &is_shared, sizeof is_shared);
}

int clinux_tcp_listen(const struct clinux_address *address, int backlog, int shares_port) {
    struct sockaddr_storage own;
    int fd = open_tcp(address, &own);
    if (fd < 0) return -1;
    int one = 1;
    int result = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (result == 0 && shares_port) result = clinux_tcp_share_port(fd, 1);
    if (result == 0) result = bind(fd, (const struct sockaddr *)&own, address->length);
    if (result == 0) result = listen(fd, backlog);
    if (result == 0 && shares_port) result = clinux_tcp_share_port(fd, 0);
    return keep_or_close(fd, result);
}

int clinux_address_text(const struct clinux_address *address, char *text, int size) {
    struct sockaddr_storage shown = {0};
    memcpy(&shown, address->bytes, address->length);
    return getnameinfo(
        (const struct sockaddr *)&shown, address->length, text, (socklen_t)size, NULL, 0,
        NI_NUMERICHOST);
}

int clinux_tcp_no_delay(int fd) {
    int one = 1;
    return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

int clinux_tcp_port(int fd) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0) return -1;
    if (address.ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)&address)->sin_port);
    if (address.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&address)->sin6_port);
    errno = EAFNOSUPPORT;
    return -1;
}

int clinux_openat(int directory, const char *path, int flags, unsigned int mode) {
    return openat(directory, path, flags, (mode_t)mode);
}

int clinux_fchgrp(int fd, unsigned int group) {
    return fchownat(fd, "", (uid_t)-1, (gid_t)group, AT_EMPTY_PATH);
}

int clinux_add_status_flags(int fd, int flags) {
    int now = fcntl(fd, F_GETFL);
    return now < 0 ? -1 : fcntl(fd, F_SETFL, now | flags);
}

int clinux_add_descriptor_flags(int fd, int flags) {
    int now = fcntl(fd, F_GETFD);
    return now < 0 ? -1 : fcntl(fd, F_SETFD, now | flags);
}

int clinux_pidfd_open(int pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

int clinux_pidfd_send_signal(int pidfd, int signal) {
    return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0);
}

int clinux_pidfd_user_namespace(int pidfd) {
    return ioctl(pidfd, CLINUX_PIDFD_GET_USER_NAMESPACE, 0);
}

int clinux_pidfd_info_pid(int pidfd, int32_t *pid) {
    struct clinux_pidfd_info info = {.mask = CLINUX_PIDFD_INFO_PID};
    int result = ioctl(pidfd, CLINUX_PIDFD_GET_INFO, &info);
    if (result >= 0) {
        *pid = (int32_t)info.pid;
    }
    return result;
}

int clinux_namespace_owner(int fd, uint32_t *uid) {
    return ioctl(fd, CLINUX_NS_GET_OWNER_UID, uid);
}

int clinux_set_thread_name(const char *name) { return prctl(PR_SET_NAME, name, 0, 0, 0); }

int clinux_unread_output(int fd) {
    int bytes = 0;
    return ioctl(fd, SIOCOUTQ, &bytes) == 0 ? bytes : -1;
}

int clinux_set_timer_slack(long nanoseconds) {
    return prctl(PR_SET_TIMERSLACK, nanoseconds, 0, 0, 0);
}

// struct sched_attr of linux/sched/types.h, as of Linux 4.14; glibc has it since 2.41.
struct scheduling {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};
_Static_assert(sizeof(struct scheduling) == 48, "SCHED_ATTR_SIZE_VER0");

int clinux_set_slice(uint64_t nanoseconds) {
    struct scheduling now;
    if (syscall(SYS_sched_getattr, 0, &now, sizeof now, 0) < 0) return -1;
    // Elsewhere the field means something else.
    if (now.policy != SCHED_OTHER && now.policy != SCHED_BATCH) return 0;
    now.runtime = nanoseconds;
    return (int)syscall(SYS_sched_setattr, 0, &now, 0);
}

int clinux_processor_count(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) < 0) return CPU_SETSIZE;
    return CPU_COUNT(&set);
}

void clinux_malloc_trim(void) {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

void clinux_keep_freed_memory(int bytes) {
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, bytes);
    mallopt(M_TRIM_THRESHOLD, bytes);
#else
    (void)bytes;
#endif
}

const char *clinux_errno_name(int number) { return strerrorname_np(number); }
