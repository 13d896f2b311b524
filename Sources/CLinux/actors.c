#include "actors.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "CLinux.h"

// struct clone_args of linux/sched.h, as of Linux 5.5 (set_tid).
struct clone_arguments {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
    uint64_t set_tid, set_tid_size;
};
_Static_assert(sizeof(struct clone_arguments) == 80, "CLONE_ARGS_SIZE_VER1");

int clinux_actor_report(int fd, const char *word) {
    char line[128];
    int length = snprintf(
        line, sizeof line, "%s %d %u %u %u %u\n", word, getpid(), getuid(), getgid(), geteuid(),
        getegid());
    return write(fd, line, (size_t)length) == length ? 0 : -1;
}

int clinux_actor_set_group_ids(uint32_t real, uint32_t effective, uint32_t saved) {
    if (setgroups(0, NULL) < 0) {
        return -1;
    }
    return setresgid(real, effective, saved);
}

int clinux_actor_set_ids(uint32_t real, uint32_t effective, uint32_t saved) {
    if (setresuid(real, effective, saved) < 0) {
        return -1;
    }
    return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

// Takes the ids in the calling thread only, which in a forked child is all there is.
static int take_ids(uint32_t uid, uint32_t gid) {
    if (gid != UINT32_MAX && syscall(SYS_setresgid, gid, gid, gid) < 0) {
        return -1;
    }
    if (uid != UINT32_MAX && syscall(SYS_setresuid, uid, uid, uid) < 0) {
        return -1;
    }
    return 0;
}

int clinux_actor_send(int fd, const void *bytes, size_t count, int flags) {
    ssize_t sent = send(fd, bytes, count, flags | MSG_NOSIGNAL);
    return sent < 0 ? -1 : (int)sent;
}

int clinux_actor_send_claim(
    int fd, const void *bytes, size_t count, int32_t pid, uint32_t uid, uint32_t gid) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(struct ucred))];
    } control;
    memset(&control, 0, sizeof control);
    struct iovec vector = {.iov_base = (void *)bytes, .iov_len = count};
    struct msghdr message = {
        .msg_iov = &vector,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof control,
    };
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_CREDENTIALS;
    control.header.cmsg_len = CMSG_LEN(sizeof(struct ucred));
    struct ucred claim = {.pid = pid, .uid = uid, .gid = gid};
    memcpy(CMSG_DATA(&control.header), &claim, sizeof claim);
    return sendmsg(fd, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

int clinux_actor_give(int channel, int fd) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    char byte = 'd';
    struct iovec vector = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &vector,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof control,
    };
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    return sendmsg(channel, &message, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

int clinux_actor_take(int channel) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    char byte;
    struct iovec vector = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &vector,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof control,
    };
    ssize_t count;
    do {
        count = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
    } while (count < 0 && errno == EINTR);
    if (count < 0) {
        return -1;
    }
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header == NULL || header->cmsg_type != SCM_RIGHTS ||
        header->cmsg_len != CMSG_LEN(sizeof(int))) {
        errno = ENOMSG;
        return -1;
    }
    int fd;
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return fd;
}

int clinux_actor_socket(int type) { return socket(AF_UNIX, type | SOCK_CLOEXEC, 0); }

int clinux_actor_make_blocking(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

struct thread_job {
    int fd, report, failure;
    const char *word, *payload;
    uint32_t uid, gid;
};

static void *send_as_other(void *argument) {
    struct thread_job *job = argument;
    if (take_ids(job->uid, job->gid) < 0 || clinux_actor_report(job->report, job->word) < 0 ||
        clinux_actor_send(job->fd, job->payload, strlen(job->payload), 0) < 0) {
        job->failure = errno;
    }
    return NULL;
}

int clinux_actor_send_from_thread(
    int fd, int report, const char *word, const char *payload, uint32_t uid, uint32_t gid) {
    struct thread_job job = {
        .fd = fd, .report = report, .word = word, .payload = payload, .uid = uid, .gid = gid};
    pthread_t thread;
    int error = pthread_create(&thread, NULL, send_as_other, &job);
    if (error == 0) {
        error = pthread_join(thread, NULL);
    }
    if (error == 0) {
        error = job.failure;
    }
    errno = error;
    return error == 0 ? 0 : -1;
}

// MARK: forked children

static void wait_for_byte(int fd) {
    char byte;
    while (fd >= 0 && read(fd, &byte, 1) < 0 && errno == EINTR) {
    }
}

// Inside a new pid namespace: another process of it sends first, then we claim its pid.
static int claim_sibling(const struct clinux_actor_child *child) {
    pid_t victim = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (victim == 0) {
        _exit(clinux_actor_send(child->socket, "victim", 6, 0) < 0 ? errno : 0);
    }
    if (victim < 0) {
        return -1;
    }
    siginfo_t info;
    // Not reaped yet: its pid must exist to be claimed.
    waitid(P_PID, (id_t)victim, &info, WEXITED | WNOWAIT);
    return clinux_actor_send_claim(
        child->socket, child->payload, strlen(child->payload), victim, getuid(), getgid());
}

static int child_send(const struct clinux_actor_child *child) {
    if (child->claims_sibling) {
        return claim_sibling(child);
    }
    size_t count = strlen(child->payload);
    if (child->ring != NULL) {
        return clinux_ring_send(child->ring, child->socket, child->payload, count);
    }
    if (child->claim_id != UINT32_MAX) {
        return clinux_actor_send_claim(
            child->socket, child->payload, count, getpid(), child->claim_id, child->claim_id);
    }
    uint32_t done = 0;
    do {
        if (clinux_actor_send(child->socket, child->payload, count, 0) < 0) {
            return -1;
        }
        done++;
    } while (done < child->repeats);
    return 0;
}

static int child_main(const struct clinux_actor_child *child, int mapped) {
    wait_for_byte(mapped);
    if (take_ids(child->uid, child->gid) < 0) {
        return errno;
    }
    if (child->connect_path != NULL &&
        clinux_connect_path(child->socket, child->connect_path) < 0) {
        return errno;
    }
    if (child->word != NULL && clinux_actor_report(child->report, child->word) < 0) {
        return errno;
    }
    wait_for_byte(child->gate);
    if (child->payload != NULL && child_send(child) < 0) {
        return errno;
    }
    return 0;
}

static int write_file(pid_t pid, const char *name, const char *text) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    ssize_t count = write(fd, text, strlen(text));
    int error = errno;
    close(fd);
    errno = error;
    return count < 0 ? -1 : 0;
}

// The maps of the new user namespace, written by the parent. One's own id alone may be mapped
// without privilege, after setgroups was given up.
static int write_maps(const struct clinux_actor_child *child, pid_t pid) {
    char text[64];
    int own = child->map_count == 1;
    uint32_t outside = own ? geteuid() : child->map_outside;
    snprintf(text, sizeof text, "%u %u %u\n", child->map_inside, outside, child->map_count);
    if (write_file(pid, "uid_map", text) < 0 ||
        (own && write_file(pid, "setgroups", "deny") < 0)) {
        return -1;
    }
    outside = own ? getegid() : child->map_outside;
    snprintf(text, sizeof text, "%u %u %u\n", child->map_inside, outside, child->map_count);
    return write_file(pid, "gid_map", text);
}

static pid_t clone_child(const struct clinux_actor_child *child) {
    pid_t wanted = child->take_pid;
    struct clone_arguments arguments = {
        .flags = child->namespaces,
        .exit_signal = SIGCHLD,
        .set_tid = wanted > 0 ? (uint64_t)(uintptr_t)&wanted : 0,
        .set_tid_size = wanted > 0 ? 1 : 0,
    };
    return (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
}

int clinux_actor_fork(const struct clinux_actor_child *child, int *failure) {
    int gate[2] = {-1, -1};
    *failure = 0;
    if (child->map_count > 0 && pipe2(gate, O_CLOEXEC) < 0) {
        return -1;
    }
    pid_t pid = clone_child(child);
    if (pid == 0) {
        if (gate[1] >= 0) {
            close(gate[1]);
        }
        _exit(child_main(child, gate[0]));
    }
    int error = errno;
    if (pid > 0 && child->map_count > 0 && write_maps(child, pid) < 0) {
        *failure = errno;
    }
    if (gate[0] >= 0) {
        close(gate[0]);
        close(gate[1]);
    }
    if (pid < 0) {
        errno = error;
        return -1;
    }
    if (!child->leave) {
        int status = clinux_actor_wait(pid);
        *failure = *failure != 0 ? *failure : status;
    }
    return pid;
}

// MARK: programs

int clinux_actor_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC); }

int clinux_actor_wait(int pid) {
    int status;
    pid_t result;
    do {
        result = waitpid(pid, &status, 0);
    } while (result < 0 && errno == EINTR);
    if (result < 0) {
        return -1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int clinux_actor_exec(const char *path, char *const arguments[], int fd, int as) {
    if (dup2(fd, as) < 0) {
        return -1;
    }
    if (fd == as && fcntl(fd, F_SETFD, 0) < 0) {
        return -1;
    }
    return execv(path, arguments);
}

int clinux_actor_spawn(
    const char *path, char *const arguments[], int input, int output, int extra) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawn_file_actions_adddup2(&actions, input, 0);
    posix_spawn_file_actions_adddup2(&actions, output, 1);
    if (extra >= 0) {
        posix_spawn_file_actions_adddup2(&actions, extra, 3);
    }
    pid_t pid;
    int error = posix_spawn(&pid, path, &actions, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    errno = error;
    return error == 0 ? pid : -1;
}

int clinux_actor_end_with_parent(void) { return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); }
