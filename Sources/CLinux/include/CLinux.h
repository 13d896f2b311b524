// What Linux offers and `import Glibc` does not show to Swift.
//
// _GNU_SOURCE is defined for CLinux.c only. Defining it here would change libc's own
// structs under the importer and clash with other C modules, so everything that libc
// hides behind it appears below as a mirror (checked by _Static_assert in CLinux.c) or
// as a function of the same meaning. All functions set errno as the call they stand for.
#pragma once

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>

#include "actors.h"

// Socket options, control messages: asm-generic numbers (x86, arm, riscv, s390, ppc).
static const int32_t CLINUX_SCM_CREDENTIALS = 2;
static const int32_t CLINUX_SCM_PIDFD = 4;
static const int32_t CLINUX_SO_TIMESTAMPNS = 35;
static const int32_t CLINUX_SO_PEERGROUPS = 59;
static const int32_t CLINUX_SO_PASSPIDFD = 76;
static const int32_t CLINUX_SO_PEERPIDFD = 77;
static const int32_t CLINUX_SO_PASSRIGHTS = 83;

// Open flags that libc shows under _GNU_SOURCE only.
static const int32_t CLINUX_O_PATH = 010000000;

// linux/magic.h: the file system of pidfds since Linux 6.9.
static const int64_t CLINUX_PIDFS_MAGIC = 0x50494446;

// The largest number of descriptors in one SCM_RIGHTS (the kernel's SCM_MAX_FD).
static const int32_t CLINUX_SCM_MAX_FD = 253;

// struct ucred
struct clinux_ucred {
    int32_t pid;
    uint32_t uid;
    uint32_t gid;
};

// The control messages of most packets, side by side as the kernel writes them.
struct clinux_usual_control {
    uint64_t time_length;
    int32_t time_level;
    int32_t time_type;
    struct timespec time;
    uint64_t credentials_length;
    int32_t credentials_level;
    int32_t credentials_type;
    struct clinux_ucred credentials;
};

// struct mmsghdr
struct clinux_mmsghdr {
    struct msghdr msg_hdr;
    unsigned int msg_len;
};

// Room in a control buffer for `bytes` of data, its header and its padding (CMSG_SPACE).
size_t clinux_cmsg_space(size_t bytes);
// The value of cmsg_len for `bytes` of data (CMSG_LEN).
size_t clinux_cmsg_len(size_t bytes);
// CMSG_FIRSTHDR, CMSG_NXTHDR, CMSG_DATA.
struct cmsghdr *clinux_cmsg_first(struct msghdr *message);
struct cmsghdr *clinux_cmsg_next(struct msghdr *message, struct cmsghdr *current);
const unsigned char *clinux_cmsg_data(const struct cmsghdr *header);

int clinux_accept4(int fd, int flags);
int clinux_recvmmsg(int fd, struct clinux_mmsghdr *messages, unsigned int count, int flags);
// sendmmsg(2) of the first `count` (1...4) vectors, one packet each.
int clinux_sendmmsg4(
    int fd, struct iovec first, struct iovec second, struct iovec third, struct iovec fourth,
    unsigned int count, int flags);

// bind(2) and connect(2) to a file system path; ENAMETOOLONG beyond 107 bytes.
int clinux_bind_path(int fd, const char *path);
int clinux_connect_path(int fd, const char *path);

// One datagram to a socket of the service manager: a path, or a name in the abstract namespace that is
// written with '@' for its leading zero (sd_notify(3)). Waits for room up to the given time; 0: not at all.
// The count of bytes; ENAMETOOLONG, or what socket(2), setsockopt(2) and sendto(2) give.
ssize_t clinux_notify(const char *address, const void *bytes, size_t count, int milliseconds);

// A socket address of TCP, as it is.
struct clinux_address {
    unsigned char bytes[28];
    unsigned int length;
};

// getaddrinfo(3) for TCP with more ai_flags: the addresses of a name, in the order in which they
// are to be tried, at most `count`. It may wait for the name service for a long time, unless
// AI_NUMERICHOST is among the flags. -1 with *reason set to what gai_strerror(3) says.
int clinux_resolve(
    const char *host, const char *port, int flags, struct clinux_address *addresses, int count,
    const char **reason);
// socket(2), non-blocking and close-on-exec, and connect(2), which goes on in the background
// (EINPROGRESS is success).
int clinux_tcp_connect(const struct clinux_address *address);
// SO_REUSEPORT.
int clinux_tcp_share_port(int fd, int is_shared);
// socket(2), non-blocking and close-on-exec, SO_REUSEADDR, bind(2) and listen(2). With `shares_port`
// also beside a listener that shares its port; afterwards neither has to.
int clinux_tcp_listen(const struct clinux_address *address, int backlog, int shares_port);
// getnameinfo(3) with NI_NUMERICHOST: the host of an address; 0 if that is possible.
int clinux_address_text(const struct clinux_address *address, char *text, int size);
// TCP_NODELAY.
int clinux_tcp_no_delay(int fd);
// getsockname(2) of a TCP socket: its port.
int clinux_tcp_port(int fd);

// openat(2) with a mode, not variadic.
int clinux_openat(int directory, const char *path, int flags, unsigned int mode);
// fchownat(2) of the group of what `fd` (also O_PATH) refers to.
int clinux_fchgrp(int fd, unsigned int group);
// fcntl(2): F_GETFL/F_SETFL and F_GETFD/F_SETFD, adding flags to those already set.
int clinux_add_status_flags(int fd, int flags);
int clinux_add_descriptor_flags(int fd, int flags);

int clinux_pidfd_open(int pid);
int clinux_pidfd_send_signal(int pidfd, int signal);
// ioctl(2) PIDFD_GET_USER_NAMESPACE: a new descriptor (close-on-exec).
int clinux_pidfd_user_namespace(int pidfd);
// ioctl(2) PIDFD_GET_INFO, asking for the process id only.
int clinux_pidfd_info_pid(int pidfd, int32_t *pid);
// ioctl(2) NS_GET_OWNER_UID.
int clinux_namespace_owner(int fd, uint32_t *uid);

// prctl(2) PR_SET_NAME for the calling thread; at most 15 bytes are kept.
int clinux_set_thread_name(const char *name);

// ioctl(2) SIOCOUTQ: what was sent and the peer has not read, as the kernel accounts it; or -1.
int clinux_unread_output(int fd);

// prctl(2) PR_SET_TIMERSLACK for the calling thread.
int clinux_set_timer_slack(long nanoseconds);

// sched_setattr(2): the slice that the calling thread asks for, if it has no real-time policy.
int clinux_set_slice(uint64_t nanoseconds);

// sched_getaffinity(2): the processors this process may run on; 1,024 where there are more (EINVAL).
int clinux_processor_count(void);

// malloc_trim(3), where the C library has it.
void clinux_malloc_trim(void);

// mallopt(3), likewise: up to so many bytes that were freed are kept for the next allocation.
void clinux_keep_freed_memory(int bytes);

// The symbolic name of an error number ("EADDRINUSE"), or NULL.
const char *clinux_errno_name(int number);
