// What a process does to show how the kernel records it: change its ids, fork into
// namespaces, claim credentials, hand descriptors over, send through io_uring.
//
// For single-purpose processes only. A forked child runs nothing but the code of actors.c:
// its parent may have had threads, so it must not enter Swift.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct clinux_ucred;

// Writes "WORD pid uid gid euid egid\n" of the caller to `fd` in one write.
int clinux_actor_report(int fd, const char *word);
// setgroups to none, then setresgid and setresuid. The process stays dumpable, so that its
// files in /proc stay its own.
int clinux_actor_set_ids(uint32_t real, uint32_t effective, uint32_t saved);
int clinux_actor_set_group_ids(uint32_t real, uint32_t effective, uint32_t saved);

// A process to fork. Zero or -1 means "not so" as said at each member.
struct clinux_actor_child {
    // The socket that is written to.
    int32_t socket;
    // Where the child says who it is ("WORD pid ..."), and under which word; NULL: silently.
    int32_t report;
    const char *word;
    // A path to connect `socket` to first, saying so under the word; NULL: connected already.
    const char *connect_path;
    // What it sends; NULL: nothing.
    const char *payload;
    // clone3 set_tid: the pid that the child shall have. 0: any.
    int32_t take_pid;
    // CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNS.
    uint64_t namespaces;
    // With CLONE_NEWUSER: first id inside, outside, and how many; count 0: no map.
    uint32_t map_inside;
    uint32_t map_outside;
    uint32_t map_count;
    // Ids to take (all three of each), after the namespaces. UINT32_MAX: as the parent.
    uint32_t uid;
    uint32_t gid;
    // Waits for a byte, or the end, of this descriptor before it sends. -1: at once.
    int32_t gate;
    // 1: a second child of the new pid namespace sends "victim" first, then the child claims
    // that process's pid inside.
    int32_t claims_sibling;
    // Claims this uid and gid (of its own user namespace) and its own pid. UINT32_MAX: nothing.
    uint32_t claim_id;
    // How often it sends. 0: once.
    uint32_t repeats;
    // A ring (clinux_ring_open) to send through instead of sendmsg; NULL: none.
    struct clinux_ring *ring;
    // 1: does not wait for the child.
    int32_t leave;
};

#define CLINUX_ACTOR_NAMESPACE_USER 0x10000000
#define CLINUX_ACTOR_NAMESPACE_PID 0x20000000

// Forks the child and (unless `leave`) waits until it has exited. Returns its pid as the
// parent knows it; -1 and errno if it could not be made. `*failure` is the errno of what did
// not succeed inside, or 0.
int clinux_actor_fork(const struct clinux_actor_child *child, int *failure);

// send(2), blocking until accepted.
int clinux_actor_send(int fd, const void *bytes, size_t count, int flags);
// sendmsg(2) with an SCM_CREDENTIALS of the sender's own choice.
int clinux_actor_send_claim(
    int fd, const void *bytes, size_t count, int32_t pid, uint32_t uid, uint32_t gid);
// A second thread that alone takes the uid and gid, says so under `word`, and sends.
int clinux_actor_send_from_thread(
    int fd, int report, const char *word, const char *payload, uint32_t uid, uint32_t gid);

// SCM_RIGHTS with one descriptor; receiving gives a close-on-exec one.
int clinux_actor_give(int channel, int fd);
int clinux_actor_take(int channel);

// socket(2) of AF_UNIX, blocking and close-on-exec.
int clinux_actor_socket(int type);
// fcntl(2) F_SETFL without O_NONBLOCK.
int clinux_actor_make_blocking(int fd);
// Replaces the program, with `fd` as its standard error or output and all else as it is.
int clinux_actor_exec(const char *path, char *const arguments[], int fd, int as);
// posix_spawn of a program: standard input and output, and descriptor 3 (-1: none).
int clinux_actor_spawn(
    const char *path, char *const arguments[], int input, int output, int extra);
// pipe2(2), close-on-exec.
int clinux_actor_pipe(int ends[2]);
// The exit status, 128 + the signal, or -1.
int clinux_actor_wait(int pid);
// PR_SET_PDEATHSIG: ends the caller when its parent ends.
int clinux_actor_end_with_parent(void);

// An io_uring whose requests are made by a kernel thread (IORING_SETUP_SQPOLL) with the
// credentials of the moment it was opened. NULL and errno if the kernel refuses.
struct clinux_ring *clinux_ring_open(void);
int clinux_ring_send(struct clinux_ring *ring, int fd, const void *bytes, size_t count);
void clinux_ring_close(struct clinux_ring *ring);
