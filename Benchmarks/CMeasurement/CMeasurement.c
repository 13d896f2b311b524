/*
 * Counts allocations by defining the allocation functions of the C library where they take
 * precedence, and passing each call on. Benchmarks only. Two ways of use:
 *
 * - linked into a benchmark, which asks for its own counters;
 * - as a shared object in LD_PRELOAD, to look into any program. With
 *   CMEASUREMENT_DIRECTORY=DIRECTORY each process keeps its counters in the file DIRECTORY/PID,
 *   which others may read at any time: a `struct cmeasurement_counters`, then its command line
 *   with a NUL after each argument.
 */
#include "CMeasurement.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *pointer, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *pointer);

/* Until a file is mapped, and where none is wanted. */
static struct cmeasurement_counters own;
static struct cmeasurement_counters *counters = &own;

uint64_t cmeasurement_allocations(void) {
    return __atomic_load_n(&counters->allocations, __ATOMIC_RELAXED);
}

int64_t cmeasurement_bytes(void) {
    return __atomic_load_n(&counters->bytes, __ATOMIC_RELAXED);
}

uint64_t cmeasurement_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The C library of Linux hands the arguments of `main` to constructors as well. */
__attribute__((constructor)) static void share(int count, char **arguments) {
    const char *directory = getenv("CMEASUREMENT_DIRECTORY");
    char path[4096];
    if (directory == NULL) return;
    int length = snprintf(path, sizeof path, "%s/%d", directory, (int)getpid());
    if (length < 0 || (size_t)length >= sizeof path) return;
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0) return;
    if (ftruncate(file, sizeof own) == 0 && lseek(file, sizeof own, SEEK_SET) > 0) {
        for (int index = 0; index < count; index++) dprintf(file, "%s%c", arguments[index], 0);
        void *page = mmap(NULL, sizeof own, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (page != MAP_FAILED) {
            struct cmeasurement_counters *shared = page;
            *shared = own;
            __atomic_store_n(&counters, shared, __ATOMIC_RELEASE);
        }
    }
    close(file);
}

/* What a block takes of the heap: its usable bytes and the header of the C library. */
static int64_t held(void *pointer) {
    return pointer == NULL ? 0 : (int64_t)(malloc_usable_size(pointer) + sizeof(size_t));
}

static void *counted(void *pointer) {
    __atomic_fetch_add(&counters->allocations, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&counters->bytes, held(pointer), __ATOMIC_RELAXED);
    return pointer;
}

void *malloc(size_t size) {
    return counted(__libc_malloc(size));
}

void *calloc(size_t items, size_t size) {
    return counted(__libc_calloc(items, size));
}

void *realloc(void *pointer, size_t size) {
    int64_t before = held(pointer);
    void *moved = __libc_realloc(pointer, size);
    if (moved == NULL && size != 0) return NULL;
    __atomic_fetch_sub(&counters->bytes, before, __ATOMIC_RELAXED);
    return counted(moved);
}

void *memalign(size_t alignment, size_t size) {
    return counted(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size) {
    return memalign(alignment, size);
}

int posix_memalign(void **pointer, size_t alignment, size_t size) {
    void *memory = memalign(alignment, size);
    if (memory == NULL) return ENOMEM;
    *pointer = memory;
    return 0;
}

void free(void *pointer) {
    __atomic_fetch_sub(&counters->bytes, held(pointer), __ATOMIC_RELAXED);
    __libc_free(pointer);
}
