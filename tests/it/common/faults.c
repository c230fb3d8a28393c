// Makes system calls on files fail. Loaded by LD_PRELOAD before the program under test.
//
// FAULT_UNDER=DIR     only calls on files below DIR count
// FAULT=CALL=ERRNO    the calls that fail: open (for writing), write, sync, dirsync, rename, mkdir, truncate, flock, map,
//                     or any: each of these but flock
// FAULT_AT=N          only the N-th of these calls fails, counted from 1; without it, all of them do
// FAULT_COUNT=FILE    the number of these calls is written to FILE when the process ends
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long calls;

static int is_under(const char *path) {
    const char *under = getenv("FAULT_UNDER");
    char folder[4096], resolved[8192];
    if (!under || !path) return 0;
    if (path[0] != '/') {
        if (syscall(SYS_getcwd, folder, sizeof folder) < 0) return 0;
        snprintf(resolved, sizeof resolved, "%s/%s", folder, path);
        path = resolved;
    }
    size_t length = strlen(under);
    return strncmp(path, under, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int fd_is_under(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_under(path);
}

static int fails(const char *call) {
    const char *fault = getenv("FAULT"), *at = getenv("FAULT_AT");
    const char *equals = fault ? strchr(fault, '=') : NULL;
    if (!equals) return 0;
    size_t length = (size_t)(equals - fault);
    int matches = strlen(call) == length && strncmp(call, fault, length) == 0;
    if (!matches && (strncmp(fault, "any=", 4) != 0 || strcmp(call, "flock") == 0)) return 0;
    long number = atomic_fetch_add(&calls, 1) + 1;
    if (at && atol(at) != number) return 0;
    errno = atoi(equals + 1);
    return 1;
}

__attribute__((destructor)) static void count(void) {
    const char *path = getenv("FAULT_COUNT");
    if (!path) return;
    char text[32];
    int length = snprintf(text, sizeof text, "%ld", atomic_load(&calls));
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd >= 0) syscall(SYS_write, fd, text, length);
}

#define NEXT(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

#define OPEN(name)                                                                    \
    int name(const char *path, int flags, ...) {                                      \
        va_list more;                                                                 \
        va_start(more, flags);                                                        \
        mode_t mode = va_arg(more, mode_t);                                           \
        va_end(more);                                                                 \
        int writes = (flags & O_ACCMODE) != O_RDONLY;                                 \
        if (writes && is_under(path) && fails("open")) return -1;                     \
        return NEXT(int, #name, const char *, int, ...)(path, flags, mode);           \
    }
OPEN(open)
OPEN(open64)

ssize_t write(int fd, const void *bytes, size_t count) {
    if (fd_is_under(fd) && fails("write")) return -1;
    return NEXT(ssize_t, "write", int, const void *, size_t)(fd, bytes, count);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (fd_is_under(fd) && fails("write")) return -1;
    return NEXT(ssize_t, "writev", int, const struct iovec *, int)(fd, parts, count);
}

static int sync_fails(int fd) {
    struct stat status;
    if (!fd_is_under(fd) || fstat(fd, &status) != 0) return 0;
    return fails(S_ISDIR(status.st_mode) ? "dirsync" : "sync");
}

int fsync(int fd) { return sync_fails(fd) ? -1 : NEXT(int, "fsync", int)(fd); }
int fdatasync(int fd) { return sync_fails(fd) ? -1 : NEXT(int, "fdatasync", int)(fd); }

int rename(const char *from, const char *to) {
    if (is_under(to) && fails("rename")) return -1;
    return NEXT(int, "rename", const char *, const char *)(from, to);
}

int mkdir(const char *path, mode_t mode) {
    if (is_under(path) && fails("mkdir")) return -1;
    return NEXT(int, "mkdir", const char *, mode_t)(path, mode);
}

int ftruncate(int fd, off_t length) {
    if (fd_is_under(fd) && fails("truncate")) return -1;
    return NEXT(int, "ftruncate", int, off_t)(fd, length);
}

int ftruncate64(int fd, off64_t length) {
    if (fd_is_under(fd) && fails("truncate")) return -1;
    return NEXT(int, "ftruncate64", int, off64_t)(fd, length);
}

int flock(int fd, int operation) {
    if (fd_is_under(fd) && fails("flock")) return -1;
    return NEXT(int, "flock", int, int)(fd, operation);
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    if (fd >= 0 && fd_is_under(fd) && fails("map")) return MAP_FAILED;
    return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset) {
    return mmap(address, length, protection, flags, fd, offset);
}
