#ifndef CMEASUREMENT_H
#define CMEASUREMENT_H

#include <stdint.h>

struct cmeasurement_counters {
    /* Calls of malloc, calloc, realloc and the aligned ones since the program started. */
    uint64_t allocations;
    /* Heap in use, the headers of the C library included. */
    int64_t bytes;
};

uint64_t cmeasurement_allocations(void);
int64_t cmeasurement_bytes(void);

/* Processor time of the calling thread: what other processes do does not count. */
uint64_t cmeasurement_nanoseconds(void);

#endif
