// An io_uring with a submission thread, with the bare system calls: no library is needed for
// one request.
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "CLinux.h"

struct clinux_ring {
    int fd;
    void *rings;
    size_t ring_bytes;
    struct io_uring_sqe *entries;
    size_t entry_bytes;
    struct io_uring_params parameters;
};

// The submission thread looks for requests this long before it sleeps.
#define SPIN_MILLISECONDS 20

struct clinux_ring *clinux_ring_open(void) {
    struct clinux_ring *ring = calloc(1, sizeof *ring);
    if (ring == NULL) {
        return NULL;
    }
    struct io_uring_params *p = &ring->parameters;
    p->flags = IORING_SETUP_SQPOLL;
    p->sq_thread_idle = SPIN_MILLISECONDS;
    ring->fd = (int)syscall(SYS_io_uring_setup, 4, p);
    if (ring->fd < 0) {
        free(ring);
        return NULL;
    }
    size_t submissions = p->sq_off.array + p->sq_entries * sizeof(uint32_t);
    size_t completions = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
    ring->ring_bytes = submissions > completions ? submissions : completions;
    ring->entry_bytes = p->sq_entries * sizeof(struct io_uring_sqe);
    ring->rings = mmap(
        NULL, ring->ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd,
        IORING_OFF_SQ_RING);
    ring->entries = mmap(
        NULL, ring->entry_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd,
        IORING_OFF_SQES);
    if (ring->rings == MAP_FAILED || ring->entries == MAP_FAILED ||
        !(p->features & IORING_FEAT_SINGLE_MMAP)) {
        clinux_ring_close(ring);
        errno = ENOSYS;
        return NULL;
    }
    return ring;
}

static _Atomic uint32_t *word(struct clinux_ring *ring, uint32_t offset) {
    return (_Atomic uint32_t *)((char *)ring->rings + offset);
}

int clinux_ring_send(struct clinux_ring *ring, int fd, const void *bytes, size_t count) {
    struct io_uring_params *p = &ring->parameters;
    uint32_t tail = atomic_load(word(ring, p->sq_off.tail));
    uint32_t slot = tail & atomic_load(word(ring, p->sq_off.ring_mask));
    struct io_uring_sqe *entry = &ring->entries[slot];
    memset(entry, 0, sizeof *entry);
    entry->opcode = IORING_OP_SEND;
    entry->fd = fd;
    entry->addr = (uint64_t)(uintptr_t)bytes;
    entry->len = (uint32_t)count;
    entry->msg_flags = MSG_NOSIGNAL;
    atomic_store(word(ring, p->sq_off.array + slot * (uint32_t)sizeof(uint32_t)), slot);
    atomic_store(word(ring, p->sq_off.tail), tail + 1);
    unsigned flags = IORING_ENTER_GETEVENTS;
    if (atomic_load(word(ring, p->sq_off.flags)) & IORING_SQ_NEED_WAKEUP) {
        flags |= IORING_ENTER_SQ_WAKEUP;
    }
    uint32_t head = atomic_load(word(ring, p->cq_off.head));
    while (atomic_load(word(ring, p->cq_off.tail)) == head) {
        if (syscall(SYS_io_uring_enter, ring->fd, 0, 1, flags, NULL, 0) < 0 && errno != EINTR) {
            return -1;
        }
    }
    struct io_uring_cqe *results =
        (struct io_uring_cqe *)((char *)ring->rings + p->cq_off.cqes);
    int result = results[head & atomic_load(word(ring, p->cq_off.ring_mask))].res;
    atomic_store(word(ring, p->cq_off.head), head + 1);
    if (result < 0) {
        errno = -result;
        return -1;
    }
    return result;
}

void clinux_ring_close(struct clinux_ring *ring) {
    if (ring->rings != NULL && ring->rings != MAP_FAILED) {
        munmap(ring->rings, ring->ring_bytes);
    }
    if (ring->entries != NULL && ring->entries != MAP_FAILED) {
        munmap(ring->entries, ring->entry_bytes);
    }
    close(ring->fd);
    free(ring);
}
