#ifndef CALLOCATIONCOUNT_H
#define CALLOCATIONCOUNT_H

#include <stdint.h>

/* Calls of malloc, calloc, realloc and the aligned ones since the program started. */
uint64_t callocationcount_total(void);

#endif
