// Makes system calls on files fail, or kills the process at one. Loaded by LD_PRELOAD before the program under test.
//
// FAULT_UNDER=PATH    only calls on this file, or on files below this folder, count
// FAULT=CALL=ERRNO    the calls that fail: open (for writing), write, sync, dirsync, rename, mkdir, truncate, remove, flock,
//                     map, read (also: opening for reading), or any: each of these but flock and read
// FAULT=CALL=KILL     these calls end the process with SIGKILL instead; a write has then written half of its bytes
// FAULT=start=KILL    the process is killed FAULT_DELAY microseconds after its start
// FAULT_DELAY=N       the call succeeds, and the process is killed N microseconds later
// FAULT_AT=N          only the N-th of these calls fails, counted from 1; without it, all of them do
// FAULT_COUNT=FILE    the numbers of calls of any, of flock and of read are written to FILE when the process ends
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

// The calls that FAULT names; those of any, of flock and of read.
static atomic_long calls, all_calls[3];

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
    // A pipe, such as stdout, has no path.
    if (length < 0 || path[0] != '/') return 0;
    path[length] = 0;
    return is_under(path);
}

// What FAULT asks for: the text after the last '='.
static const char *fault(void) {
    const char *fault = getenv("FAULT"), *equals = fault ? strrchr(fault, '=') : NULL;
    return equals ? equals + 1 : "";
}

static int kills(void) { return strcmp(fault(), "KILL") == 0; }

// Whether a call is the one that FAULT and FAULT_AT choose.
static int is_chosen(const char *call) {
    int class = strcmp(call, "flock") == 0 ? 1 : strcmp(call, "read") == 0 ? 2 : 0;
    atomic_fetch_add(&all_calls[class], 1);
    const char *fault = getenv("FAULT"), *at = getenv("FAULT_AT");
    const char *equals = fault ? strchr(fault, '=') : NULL;
    if (!equals) return 0;
    size_t length = (size_t)(equals - fault);
    int matches = strlen(call) == length && strncmp(call, fault, length) == 0;
    if (!matches && (class != 0 || strncmp(fault, "any=", 4) != 0)) return 0;
    long number = atomic_fetch_add(&calls, 1) + 1;
    return !at || atol(at) == number;
}

static void kill_after(long microseconds) {
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
    struct itimerspec when = {.it_value = {microseconds / 1000000, microseconds % 1000000 * 1000 + 1}};
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) == 0) timer_settime(timer, 0, &when, NULL);
}

// Fails a chosen call, with the error in errno, or kills the process now or later. Returns whether the call fails.
static int strike(void) {
    const char *delay = getenv("FAULT_DELAY");
    if (kills() && delay) {
        kill_after(atol(delay));
        return 0;
    }
    if (kills()) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
    errno = atoi(fault());
    return 1;
}

static int fails(const char *call) { return is_chosen(call) && strike(); }

__attribute__((constructor)) static void start(void) {
    const char *fault = getenv("FAULT");
    if (fault && strcmp(fault, "start=KILL") == 0) strike();
}

__attribute__((destructor)) static void count(void) {
    const char *path = getenv("FAULT_COUNT");
    if (!path) return;
    char text[96];
    long any = atomic_load(&all_calls[0]), flocks = atomic_load(&all_calls[1]), reads = atomic_load(&all_calls[2]);
    int length = snprintf(text, sizeof text, "%ld %ld %ld", any, flocks, reads);
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
        if (is_under(path) && fails(writes ? "open" : "read")) return -1;             \
        return NEXT(int, #name, const char *, int, ...)(path, flags, mode);           \
    }
OPEN(open)
OPEN(open64)

ssize_t read(int fd, void *bytes, size_t count) {
    if (fd_is_under(fd) && fails("read")) return -1;
    return NEXT(ssize_t, "read", int, void *, size_t)(fd, bytes, count);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    if (fd_is_under(fd) && is_chosen("write")) {
        if (kills() && !getenv("FAULT_DELAY")) syscall(SYS_write, fd, bytes, count / 2);
        if (strike()) return -1;
    }
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

int unlink(const char *path) {
    if (is_under(path) && fails("remove")) return -1;
    return NEXT(int, "unlink", const char *)(path);
}

int rmdir(const char *path) {
    if (is_under(path) && fails("remove")) return -1;
    return NEXT(int, "rmdir", const char *)(path);
}

int unlinkat(int folder, const char *path, int flags) {
    if ((folder == AT_FDCWD || path[0] == '/' ? is_under(path) : fd_is_under(folder)) && fails("remove")) return -1;
    return NEXT(int, "unlinkat", int, const char *, int)(folder, path, flags);
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
