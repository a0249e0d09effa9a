/* Delays fsync and fdatasync of a process while a file exists: a disk that is busy. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static void delay(void) {
    const char *busy = getenv("SIGNUP_TEST_BUSY_DISK");
    while (busy && access(busy, F_OK) == 0)
        usleep(10000);
}

int fsync(int file) {
    delay();
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(file);
}

int fdatasync(int file) {
    delay();
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(file);
}
