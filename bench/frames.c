// Sends one frame again and again over an interface, from one core, as quickly as that goes.
//
//   frames packet|tap INTERFACE FRAME-IN-HEXADECIMAL SECONDS CORE
//
// `packet` sends over an interface; `tap` writes to a tap, one frame a call, as QEMU does.
// Prints: frames sent, seconds, seconds of the core. What the kernel does with a frame until it is
// at its end it does before the call returns, on the same core, so that these seconds hold all of
// it. Real-time priority: whatever else runs on the machine does not count, and waits.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, LONGEST = 2048 };

static double seconds_of(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static void stay_on(int core)
{
    struct sched_param first = {.sched_priority = 10};
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    if (sched_setaffinity(0, sizeof set, &set) || sched_setscheduler(0, SCHED_FIFO, &first))
        perror("frames: core or priority");
}

static int opened_link(const char *name)
{
    struct sockaddr_ll port = {.sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(name)};
    int one = 1, link = socket(AF_PACKET, SOCK_RAW, 0);
    if (setsockopt(link, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one) ||
        bind(link, (struct sockaddr *)&port, sizeof port))
        return -1;
    return link;
}

static int opened_tap(const char *name)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    int tap = open("/dev/net/tun", O_RDWR);
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (ioctl(tap, TUNSETIFF, &request))
        return -1;
    usleep(50000); // the bridge takes a port a moment after it has a carrier
    return tap;
}

static int write_batch(int tap, const struct iovec *content)
{
    int went = 0;
    while (went < BATCH && write(tap, content->iov_base, content->iov_len) > 0)
        went++;
    return went ? went : -1;
}

int main(int argc, char **argv)
{
    static unsigned char frame[LONGEST];
    static struct mmsghdr messages[BATCH];
    struct iovec content = {frame, 0};
    unsigned long sent = 0;

    if (argc != 6 || strlen(argv[3]) > 2 * LONGEST)
        return 2;
    int is_tap = !strcmp(argv[1], "tap");
    for (char *hex = argv[3]; hex[0] && hex[1]; hex += 2)
        sscanf(hex, "%2hhx", &frame[content.iov_len++]);
    for (int i = 0; i < BATCH; i++)
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &content, .msg_iovlen = 1};
    int end = is_tap ? opened_tap(argv[2]) : opened_link(argv[2]);
    if (end < 0) {
        perror("frames: interface");
        return 1;
    }
    stay_on(atoi(argv[5]));
    double began = seconds_of(CLOCK_MONOTONIC), worked = seconds_of(CLOCK_THREAD_CPUTIME_ID);
    double until = began + atof(argv[4]), now;
    do {
        int went = is_tap ? write_batch(end, &content) : sendmmsg(end, messages, BATCH, 0);
        if (went < 0) {
            perror("frames: send");
            return 1;
        }
        sent += went;
        now = seconds_of(CLOCK_MONOTONIC);
    } while (now < until);
    printf("%lu %.6f %.6f\n", sent, now - began, seconds_of(CLOCK_THREAD_CPUTIME_ID) - worked);
    return 0;
}
