/* SPDX-License-Identifier: BSD-3-Clause */
/* What the C tests have in common: a check that says what failed and ends the
 * program, a way to see a program die, and the name of the running test. */
#pragma once
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *test_name = "?";

#define CHECK(expr)                                                                                \
    do {                                                                                           \
        if (!(expr)) {                                                                             \
            fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, test_name, #expr);      \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define RUN(test) (test_name = #test, test())

/* Does calling this end the process by abort(), as a failed assert does? */
static inline bool aborts(void (*call)(void))
{
    int status = 0;
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        dup2(open("/dev/null", O_WRONLY), 2); /* the assertion's message */
        call();
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}
