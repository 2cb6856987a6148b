/* The floor for running a command many times: COUNT times argv, WIDTH at a time, by posix_spawn and waitpid. */
#define _GNU_SOURCE
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>

extern char **environ;

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    int left = atoi(argv[1]), width = atoi(argv[2]), running = 0, status;
    while (left > 0 || running > 0) {
        if (left > 0 && running < width) {
            pid_t pid;
            if (posix_spawn(&pid, argv[3], NULL, NULL, argv + 3, environ)) return 1;
            left--, running++;
        } else {
            if (waitpid(-1, &status, 0) < 0 || status) return 1;
            running--;
        }
    }
    return 0;
}
