/* The outcome of v1_program.c, for the test that runs several of them. */
#ifndef PCCL_TESTS_V1_PROGRAM_H
#define PCCL_TESTS_V1_PROGRAM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct v1_outcome {
    int steps;
    int contributors;
    uint64_t revision;
    float weights[64];
    char failure[512];
};

/* 0 when all steps were made; otherwise `failure` says why not. */
int v1_program(uint16_t port, int peers, int steps, struct v1_outcome* outcome);

#ifdef __cplusplus
}
#endif

#endif
