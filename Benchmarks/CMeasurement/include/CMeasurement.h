#ifndef CMEASUREMENT_H
#define CMEASUREMENT_H

#include <stdint.h>

/* Calls of malloc, calloc, realloc and the aligned ones since the program started. */
uint64_t cmeasurement_allocations(void);

/* Processor time of the calling thread: what other processes do does not count. */
uint64_t cmeasurement_nanoseconds(void);

#endif
