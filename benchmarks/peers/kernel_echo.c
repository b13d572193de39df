/* The floor: what the kernel alone takes to carry calls. Sends every packet back as soon as it comes, in C.
 *
 * Arguments are the ports on 127.0.0.1. Says "ready"; ends when standard input does.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 1024 };

static int open_port(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (sock < 0 || bind(sock, (struct sockaddr *)&at, sizeof at) < 0) {
        perror("socket");
        exit(1);
    }
    return sock;
}

static void watch(int all, int fd)
{
    struct epoll_event readable = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(all, EPOLL_CTL_ADD, fd, &readable);
}

static void send_back(int sock)
{
    char packet[2048];
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    ssize_t size = recvfrom(sock, packet, sizeof packet, 0, (struct sockaddr *)&from, &length);
    if (size >= 0)
        sendto(sock, packet, size, 0, (struct sockaddr *)&from, length);
}

static int goes_on(void)
{
    char line[64];
    return read(STDIN_FILENO, line, sizeof line) > 0;
}

int main(int count, char **ports)
{
    struct epoll_event ready[MOST];
    int all = epoll_create1(0);
    watch(all, STDIN_FILENO);
    for (int k = 1; k < count; k++)
        watch(all, open_port(atoi(ports[k])));
    puts("ready");
    fflush(stdout);
    for (;;) {
        int found = epoll_wait(all, ready, MOST, -1);
        for (int k = 0; k < found; k++) {
            if (ready[k].data.fd != STDIN_FILENO)
                send_back(ready[k].data.fd);
            else if (!goes_on())
                return 0;
        }
    }
}
