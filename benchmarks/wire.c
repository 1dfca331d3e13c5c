/* The ends of a connection that cost next to nothing, so that what is measured is the program at the other end.

   wire send PORT FILE CONNECTIONS EACH   replays data sets as C-STORE requests (FILE is what write_replay of instances.py writes)
   wire raw-send PORT FILE CONNECTIONS    the same bytes to `raw-receive`
   wire sink PORT MAX_PDU                 a storage SCP that reads everything, stores nothing and answers success
   wire raw-receive PORT FOLDER           copies what comes from the socket to a file for each message

   A sender prints "ready", waits for a line with the round's ten digits, patches them over the placeholder, sends, and
   prints "SECONDS INSTANCES SUCCESSES BYTES". EACH is 1 where every instance has an association of its own. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PLACEHOLDER "9876543210"
#define DIGITS 10
#define LARGEST (1 << 20)
#define CONTEXT 1
#define PAGE 4096 /* copies to memory just behind a page's begin are several times as slow on some processors */

typedef struct { uint8_t *at; size_t size; } Bytes;

/* An instance: its data set as it is stored, and as PDUs for the maximum length that the peer named. */
typedef struct { Bytes data, framed; char class_uid[65], instance_uid[65]; } Instance;

typedef struct {
    int port, each, raw, number, connections, fd;
    Instance *instances;
    int count, succeeded;
    uint64_t bytes;
    double began, ended;
} Sender;

static pthread_barrier_t loaded, started;

static void fail(const char *what) { perror(what); exit(1); }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void put32(uint8_t *at, uint32_t value) { value = htonl(value); memcpy(at, &value, 4); }
static uint32_t get32(const uint8_t *at) { uint32_t value; memcpy(&value, at, 4); return ntohl(value); }
static void put16(uint8_t *at, uint16_t value) { value = htons(value); memcpy(at, &value, 2); }

static void set_on(int fd, int option) { int on = 1; setsockopt(fd, IPPROTO_TCP, option, &on, sizeof on); }

static int read_all(int fd, void *into, size_t size) {
    for (size_t got = 0; got < size;) {
        ssize_t n = recv(fd, (uint8_t *)into + got, size - got, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return 0;
        got += n;
    }
    return 1;
}

static int write_all(int fd, const void *from, size_t size) {
    for (size_t put = 0; put < size;) {
        ssize_t n = send(fd, (const uint8_t *)from + put, size - put, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return 0;
        put += n;
    }
    return 1;
}

static int listening(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (void *)&a, sizeof a) || listen(fd, 64)) fail("listen");
    return fd;
}

static int connected(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (void *)&a, sizeof a)) fail("connect");
    set_on(fd, TCP_NODELAY);
    return fd;
}

/* ---- items and elements ---- */

static uint8_t *item(uint8_t *at, uint8_t kind, const void *value, uint16_t size) {
    at[0] = kind, at[1] = 0;
    put16(at + 2, size);
    memcpy(at + 4, value, size);
    return at + 4 + size;
}

static uint8_t *element(uint8_t *at, uint16_t tag, const void *value, uint32_t size) {
    uint16_t group = 0;
    memcpy(at, &group, 2), memcpy(at + 2, &tag, 2), memcpy(at + 4, &size, 4);
    memcpy(at + 8, value, size);
    return at + 8 + size;
}

static uint8_t *number(uint8_t *at, uint16_t tag, uint16_t value) { return element(at, tag, &value, 2); }

static uint8_t *uid(uint8_t *at, uint16_t tag, const char *text) {
    char padded[66] = {0};
    strncpy(padded, text, 64);
    return element(at, tag, padded, (strlen(text) + 1) & ~1u);
}

static size_t closed_command(uint8_t *command, uint8_t *end) {
    uint32_t length = end - command - 12;
    element(command, 0x0000, &length, 4);
    return end - command;
}

/* ---- sending ---- */

static uint32_t associate(int fd, const char *class_uid) {
    uint8_t pdu[LARGEST / 64] = {0}, part[512], *at = pdu + 74, *p = part;
    const char *application = "1.2.840.10008.3.1.1.1", *explicit_little = "1.2.840.10008.1.2.1";
    put16(pdu + 6, 1);
    memcpy(pdu + 10, "DICOM-NODE      REPLAY          ", 32);
    at = item(at, 0x10, application, strlen(application));
    *p++ = CONTEXT, *p++ = 0, *p++ = 0, *p++ = 0;
    p = item(p, 0x30, class_uid, strlen(class_uid));
    p = item(p, 0x40, explicit_little, strlen(explicit_little));
    at = item(at, 0x20, part, p - part);
    uint8_t most[4];
    put32(most, 131072);
    p = item(part, 0x51, most, 4);
    p = item(p, 0x52, "1.2.3.4", 7);
    at = item(at, 0x50, part, p - part);
    pdu[0] = 1;
    put32(pdu + 2, at - pdu - 6);
    set_on(fd, TCP_QUICKACK);
    if (!write_all(fd, pdu, at - pdu) || !read_all(fd, pdu, 6)) fail("association");
    uint32_t size = get32(pdu + 2), limit = 0;
    if (pdu[0] != 2 || size > sizeof pdu || !read_all(fd, pdu, size)) fail("association not accepted");
    uint8_t *found = memmem(pdu + 68, size - 68, "\x51\0\0\4", 4);
    if (found) limit = get32(found + 4);
    return limit && limit < LARGEST ? limit : LARGEST;
}

static void release(int fd) {
    uint8_t pdu[10] = {5, 0, 0, 0, 0, 4};
    if (write_all(fd, pdu, 10)) read_all(fd, pdu, 10);
    close(fd);
}

static Bytes framed_for(const Instance *one, uint16_t message_id, uint32_t limit) {
    uint8_t command[512], *end = command + 12;
    end = uid(end, 0x0002, one->class_uid);
    end = number(end, 0x0100, 1);
    end = number(end, 0x0110, message_id);
    end = number(end, 0x0700, 0);
    end = number(end, 0x0800, 0);
    end = uid(end, 0x1000, one->instance_uid);
    size_t command_size = closed_command(command, end), most = (limit - 6) & ~1u;
    size_t room = command_size + one->data.size + 12 * (4 + one->data.size / most + command_size / most);
    Bytes out = {aligned_alloc(PAGE, (room + PAGE - 1) / PAGE * PAGE), 0};
    for (int is_command = 1; is_command >= 0; is_command--) {
        const uint8_t *from = is_command ? command : one->data.at;
        size_t size = is_command ? command_size : one->data.size;
        for (size_t at = 0; at < size; at += most) {
            size_t n = size - at < most ? size - at : most;
            uint8_t *to = out.at + out.size;
            to[0] = 4, to[1] = 0, to[10] = CONTEXT, to[11] = is_command | (at + n == size ? 2 : 0);
            put32(to + 2, n + 6), put32(to + 6, n + 2);
            memcpy(to + 12, from + at, n);
            out.size += 12 + n;
        }
    }
    return out;
}

static void patch(Bytes where, const char *digits) {
    uint8_t *at = where.at, *end = where.at + where.size;
    while ((at = memmem(at, end - at, PLACEHOLDER, DIGITS))) memcpy(at, digits, DIGITS);
}

/* DCMTK and Orthanc write an answer in two parts and hold the second until the first is acknowledged. */
static int answered(int fd, uint8_t *into, size_t size) {
    set_on(fd, TCP_QUICKACK);
    return read_all(fd, into, size);
}

static int stored(int fd, const Instance *one, int raw) {
    uint8_t pdu[4096], success[10] = {0, 0, 0, 9, 2, 0, 0, 0, 0, 0};
    if (raw) {
        uint32_t size = one->framed.size;
        return write_all(fd, &size, 4) && write_all(fd, one->framed.at, size) && read_all(fd, pdu, 1);
    }
    if (!write_all(fd, one->framed.at, one->framed.size) || !answered(fd, pdu, 6)) fail("no answer");
    uint32_t size = get32(pdu + 2);
    if (pdu[0] != 4 || size > sizeof pdu || !answered(fd, pdu, size)) fail("no C-STORE response");
    return memmem(pdu, size, success, 10) != NULL;
}

static void *send_all(void *given) {
    Sender *me = given;
    for (int i = me->number; i < me->count; i += me->connections) {
        if (me->each) {
            me->fd = connected(me->port);
            associate(me->fd, me->instances[i].class_uid);
        }
        me->succeeded += stored(me->fd, &me->instances[i], me->raw);
        me->bytes += me->instances[i].framed.size;
        if (me->each) release(me->fd);
    }
    me->ended = now();
    return NULL;
}

static void *sending(void *given) {
    Sender *me = given;
    uint32_t limit = LARGEST;
    me->fd = connected(me->port);
    if (!me->raw) limit = associate(me->fd, me->instances[0].class_uid);
    for (int i = me->number; i < me->count; i += me->connections)
        me->instances[i].framed = framed_for(&me->instances[i], 1 + i % 65535, limit);
    if (me->each) release(me->fd);
    pthread_barrier_wait(&loaded);
    pthread_barrier_wait(&started);
    me->began = now();
    send_all(me);
    if (!me->each && !me->raw) release(me->fd);
    return NULL;
}

static Instance *load(const char *path, int *count) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    Instance *all = NULL;
    uint32_t size;
    char uids[128];
    for (*count = 0; fread(&size, 4, 1, file) == 1; (*count)++) {
        all = realloc(all, (*count + 1) * sizeof *all);
        Instance *one = &all[*count];
        memset(one, 0, sizeof *one);
        one->data = (Bytes){malloc(size), size};
        if (fread(uids, 128, 1, file) != 1 || fread(one->data.at, size, 1, file) != 1) fail("short file");
        memcpy(one->class_uid, uids, 64), memcpy(one->instance_uid, uids + 64, 64);
    }
    fclose(file);
    return all;
}

static int run_senders(int port, const char *path, int connections, int each, int raw) {
    int count;
    Instance *instances = load(path, &count);
    Sender senders[64] = {0};
    pthread_t threads[64];
    if (!count || connections > 64) fail("arguments");
    pthread_barrier_init(&loaded, NULL, connections + 1);
    pthread_barrier_init(&started, NULL, connections + 1);
    for (int i = 0; i < connections; i++) {
        senders[i] = (Sender){.port = port, .each = each, .raw = raw, .number = i, .connections = connections,
                              .instances = instances, .count = count};
        pthread_create(&threads[i], NULL, sending, &senders[i]);
    }
    pthread_barrier_wait(&loaded);
    puts("ready");
    fflush(stdout);
    char digits[DIGITS + 2];
    if (!fgets(digits, sizeof digits, stdin)) return 1;
    for (int i = 0; i < count; i++) patch(instances[i].framed, digits);
    pthread_barrier_wait(&started);
    double began = 1e18, ended = 0;
    int succeeded = 0;
    uint64_t bytes = 0;
    for (int i = 0; i < connections; i++) {
        pthread_join(threads[i], NULL);
        if (senders[i].began < began) began = senders[i].began;
        if (senders[i].ended > ended) ended = senders[i].ended;
        succeeded += senders[i].succeeded, bytes += senders[i].bytes;
    }
    printf("%.6f %d %d %llu\n", ended - began, count, succeeded, (unsigned long long)bytes);
    return 0;
}

/* ---- receiving ---- */

static int accept_association(int fd, uint8_t *pdu, uint32_t size, uint32_t limit) {
    uint8_t out[65536] = {0}, *to = out + 74, most[4];
    const char *application = "1.2.840.10008.3.1.1.1";
    memcpy(out + 6, pdu, 68);
    to = item(to, 0x10, application, strlen(application));
    for (uint8_t *at = pdu + 68; at + 4 <= pdu + size;) {
        uint16_t length = at[2] << 8 | at[3];
        if (at[0] == 0x20) { /* the first transfer syntax that each context proposes */
            for (uint8_t *sub = at + 8; sub + 4 <= at + 4 + length; sub += 4 + (sub[2] << 8 | sub[3])) {
                if (sub[0] != 0x40) continue;
                uint8_t part[256] = {at[4]};
                item(part + 4, 0x40, sub + 4, sub[2] << 8 | sub[3]);
                to = item(to, 0x21, part, 8 + (sub[2] << 8 | sub[3]));
                break;
            }
        }
        at += 4 + length;
    }
    uint8_t user[64], *end;
    put32(most, limit);
    end = item(user, 0x51, most, 4);
    end = item(end, 0x52, "1.2.3.4", 7);
    to = item(to, 0x50, user, end - user);
    out[0] = 2;
    put32(out + 2, to - out - 6);
    return write_all(fd, out, to - out);
}

static int answer(int fd, const uint8_t *request, size_t size, uint8_t context) {
    uint8_t out[512] = {4}, *command = out + 12, *end = command + 12, *uids[2] = {0};
    uint16_t message_id = 0;
    uint32_t lengths[2] = {0};
    for (const uint8_t *at = request; at + 8 <= request + size;) {
        uint16_t tag;
        uint32_t length;
        memcpy(&tag, at + 2, 2), memcpy(&length, at + 4, 4);
        if (tag == 0x0110) memcpy(&message_id, at + 8, 2);
        if (tag == 0x0002 || tag == 0x1000) uids[tag == 0x1000] = (uint8_t *)at + 8, lengths[tag == 0x1000] = length;
        at += 8 + length;
    }
    if (!uids[0] || !uids[1]) return 0;
    end = element(end, 0x0002, uids[0], lengths[0]);
    end = number(end, 0x0100, 0x8001);
    end = number(end, 0x0120, message_id);
    end = number(end, 0x0800, 0x0101);
    end = number(end, 0x0900, 0);
    end = element(end, 0x1000, uids[1], lengths[1]);
    uint32_t length = closed_command(command, end);
    put32(out + 2, length + 6), put32(out + 6, length + 2);
    out[10] = context, out[11] = 3;
    return write_all(fd, out, 12 + length);
}

/* Through one large buffer, as any acceptor that cares for speed does; only commands are kept. It acknowledges at once: no
   sender is to be measured by its kernel's timers. */
static void serve_sink(int fd, uint32_t limit) {
    static uint8_t buffer[LARGEST] __attribute__((aligned(PAGE))), pdu[65536], command[4096];
    size_t have = 0, at = 0, command_size = 0;
    uint64_t bytes = 0;
    double began = now();
#define NEED(n)                                                                       \
    while (have - at < (n)) {                                                         \
        if (at) memmove(buffer, buffer + at, have - at), have -= at, at = 0;          \
        set_on(fd, TCP_QUICKACK);                                                     \
        ssize_t got = recv(fd, buffer + have, sizeof buffer - have, 0);               \
        if (got <= 0) goto over;                                                      \
        have += got, bytes += got;                                                    \
    }
    for (;;) {
        NEED(6);
        uint8_t kind = buffer[at];
        uint32_t left = get32(buffer + at + 2);
        at += 6;
        if (kind != 4) {
            if (left > sizeof pdu) goto over;
            NEED(left);
            memcpy(pdu, buffer + at, left);
            at += left;
            if (kind == 1 && !accept_association(fd, pdu, left, limit)) goto over;
            if (kind == 5) { uint8_t reply[10] = {6, 0, 0, 0, 0, 4}; write_all(fd, reply, 10); goto over; }
            if (kind == 7) goto over;
            continue;
        }
        while (left) {
            NEED(6);
            uint32_t fragment = get32(buffer + at) - 2;
            uint8_t context = buffer[at + 4], control = buffer[at + 5];
            at += 6, left -= fragment + 6;
            while (fragment) {
                NEED(1);
                size_t n = have - at < fragment ? have - at : fragment;
                if (control & 1) {
                    if (command_size + n > sizeof command) goto over;
                    memcpy(command + command_size, buffer + at, n), command_size += n;
                }
                at += n, fragment -= n;
            }
            if (control == 2) {
                if (!answer(fd, command, command_size, context)) goto over;
                command_size = 0;
            }
        }
    }
over:
    printf("%.6f %llu\n", now() - began, (unsigned long long)bytes);
    fflush(stdout);
    close(fd);
}

static void serve_raw(int fd, const char *folder, int connection) {
    uint8_t *buffer = aligned_alloc(PAGE, LARGEST);
    uint32_t left;
    for (int message = 0; read_all(fd, &left, 4); message++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%d-%d-%d", folder, getpid(), connection, message);
        int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        if (file < 0) fail(path);
        while (left) {
            ssize_t n = recv(fd, buffer, left < LARGEST ? left : LARGEST, 0);
            if (n <= 0 || write(file, buffer, n) != n) exit(1);
            left -= n;
        }
        close(file);
        if (!write_all(fd, "k", 1)) break;
    }
    exit(0);
}

static int run_receiver(int port, const char *folder, uint32_t limit) {
    int listener = listening(port);
    signal(SIGCHLD, SIG_IGN);
    puts("ready");
    fflush(stdout);
    for (int connection = 0;; connection++) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) continue;
        set_on(fd, TCP_NODELAY);
        if (fork()) { close(fd); continue; }
        if (folder) serve_raw(fd, folder, connection);
        serve_sink(fd, limit);
        exit(0);
    }
}

int main(int count, char **given) {
    const char *mode = count > 3 ? given[1] : "";
    if (!strcmp(mode, "send") && count == 6)
        return run_senders(atoi(given[2]), given[3], atoi(given[4]), atoi(given[5]), 0);
    if (!strcmp(mode, "raw-send") && count == 5) return run_senders(atoi(given[2]), given[3], atoi(given[4]), 0, 1);
    if (!strcmp(mode, "sink")) return run_receiver(atoi(given[2]), NULL, atoi(given[3]));
    if (!strcmp(mode, "raw-receive")) return run_receiver(atoi(given[2]), given[3], 0);
    fputs("see the head of wire.c\n", stderr);
    return 2;
}
