/* Counts what changes files below one folder, and lets one of these calls fail once.
 *
 * Preloaded, it stands before the C library's own functions: whatever language a writer is made in, it passes here.
 * `faults_set(folder, nth, error)` begins a count; the nth call (from 1; 0: none) fails with `error`. `faults_count()` says
 * how many there were, `faults_kind(n)` what the nth was. Files that are mapped into memory are not seen. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST 100000
static char below[PATH_MAX];
static long failing, count;
static int with;
static const char *kinds[MOST];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void faults_set(const char *folder, long nth, int error) {
    pthread_mutex_lock(&lock);
    if (!realpath(folder, below)) below[0] = 0;
    failing = nth, with = error, count = 0;
    pthread_mutex_unlock(&lock);
}
long faults_count(void) { return count; }
const char *faults_kind(long n) { return n >= 1 && n <= count && n <= MOST ? kinds[n - 1] : ""; }

/* Whether an absolute path without links lies below the folder. */
static int lies_below(const char *path) {
    size_t length = strlen(below);
    return length && !strncmp(path, below, length) && (path[length] == '/' || !path[length]);
}

/* Counts a call; 1 where it is to fail. */
static int fails(const char *kind) {
    pthread_mutex_lock(&lock);
    if (count < MOST) kinds[count] = kind;
    int is_it = ++count == failing;
    pthread_mutex_unlock(&lock);
    if (is_it) errno = with;
    return is_it;
}

static int of_file(int file, const char *kind) {
    char name[64], path[PATH_MAX];
    if (!below[0]) return 0;
    int before = errno;
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    ssize_t length = readlink(name, path, sizeof path - 1);
    errno = before;
    if (length < 0) return 0;
    path[length] = 0;
    return lies_below(path) && fails(kind);
}

static int of_path(int folder, const char *path, const char *kind) {
    char parent[PATH_MAX], found[PATH_MAX];
    if (!below[0] || !path) return 0;
    int before = errno;
    if (path[0] == '/' || folder == AT_FDCWD) snprintf(parent, sizeof parent, "%s", path);
    else if (snprintf(parent, sizeof parent, "/proc/self/fd/%d/%s", folder, path) >= (int)sizeof parent) return 0;
    size_t end = strlen(parent);
    while (end > 1 && parent[end - 1] == '/') parent[--end] = 0;
    char *slash = strrchr(parent, '/');
    if (!slash) strcpy(parent, ".");
    else if (slash == parent) parent[1] = 0;
    else *slash = 0;
    int is_there = realpath(parent, found) != NULL;
    errno = before;
    return is_there && lies_below(found) && fails(kind);
}

#define NEXT(name) \
    static __typeof__(name) *next; \
    if (!next) next = (__typeof__(next))dlsym(RTLD_NEXT, #name)
#define OF_FILE(type, name, file, kind, args, ...) \
    type name args { NEXT(name); return of_file(file, kind) ? -1 : next(__VA_ARGS__); }
#define OF_PATH(name, folder, path, kind, args, ...) \
    int name args { NEXT(name); return of_path(folder, path, kind) ? -1 : next(__VA_ARGS__); }

OF_FILE(ssize_t, write, f, "write", (int f, const void *b, size_t n), f, b, n)
OF_FILE(ssize_t, pwrite, f, "write", (int f, const void *b, size_t n, off_t o), f, b, n, o)
OF_FILE(ssize_t, pwrite64, f, "write", (int f, const void *b, size_t n, off64_t o), f, b, n, o)
OF_FILE(ssize_t, writev, f, "write", (int f, const struct iovec *v, int n), f, v, n)
OF_FILE(ssize_t, pwritev, f, "write", (int f, const struct iovec *v, int n, off_t o), f, v, n, o)
OF_FILE(ssize_t, pwritev64, f, "write", (int f, const struct iovec *v, int n, off64_t o), f, v, n, o)
OF_FILE(ssize_t, sendfile, f, "write", (int f, int from, off_t *o, size_t n), f, from, o, n)
OF_FILE(ssize_t, sendfile64, f, "write", (int f, int from, off64_t *o, size_t n), f, from, o, n)
OF_FILE(ssize_t, copy_file_range, to, "write", (int from, off64_t *a, int to, off64_t *b, size_t n, unsigned g), from, a, to, b, n, g)
OF_FILE(int, fsync, f, "sync", (int f), f)
OF_FILE(int, fdatasync, f, "sync", (int f), f)
OF_FILE(int, ftruncate, f, "truncate", (int f, off_t n), f, n)
OF_FILE(int, ftruncate64, f, "truncate", (int f, off64_t n), f, n)
OF_PATH(rename, AT_FDCWD, to, "rename", (const char *from, const char *to), from, to)
OF_PATH(renameat, b, to, "rename", (int a, const char *from, int b, const char *to), a, from, b, to)
OF_PATH(renameat2, b, to, "rename", (int a, const char *from, int b, const char *to, unsigned g), a, from, b, to, g)
OF_PATH(mkdir, AT_FDCWD, p, "mkdir", (const char *p, mode_t m), p, m)
OF_PATH(mkdirat, d, p, "mkdir", (int d, const char *p, mode_t m), d, p, m)
OF_PATH(link, AT_FDCWD, to, "link", (const char *from, const char *to), from, to)
OF_PATH(symlink, AT_FDCWD, to, "link", (const char *from, const char *to), from, to)
OF_PATH(unlink, AT_FDCWD, p, "unlink", (const char *p), p)
OF_PATH(unlinkat, d, p, "unlink", (int d, const char *p, int g), d, p, g)
OF_PATH(rmdir, AT_FDCWD, p, "unlink", (const char *p), p)

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { va_list a; va_start(a, flags); mode = va_arg(a, mode_t); va_end(a); }
#define WRITES(flags) ((flags) & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC))
#define OPEN(name) \
    int name(const char *p, int flags, ...) { NEXT(name); MODE(flags) \
        return WRITES(flags) && of_path(AT_FDCWD, p, "open") ? -1 : next(p, flags, mode); }
#define OPENAT(name) \
    int name(int d, const char *p, int flags, ...) { NEXT(name); MODE(flags) \
        return WRITES(flags) && of_path(d, p, "open") ? -1 : next(d, p, flags, mode); }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
/* The C library's own buffered files write past us: their opening is seen, and their writing where it is `fwrite`. */
#define FOPEN(name) \
    FILE *name(const char *p, const char *how) { NEXT(name); \
        return strpbrk(how, "wa+") && of_path(AT_FDCWD, p, "open") ? NULL : next(p, how); }
FOPEN(fopen)
FOPEN(fopen64)
size_t fwrite(const void *b, size_t s, size_t n, FILE *f) { NEXT(fwrite); return of_file(fileno(f), "write") ? 0 : next(b, s, n, f); }
