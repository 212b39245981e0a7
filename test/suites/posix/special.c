// SPDX-License-Identifier: MIT
//
// Fifos, devices and sockets that live on the file system under test do what they do anywhere.

#include "posix.h"

TEST(fifo_io) {
  OK(mkfifo("pipe", 0666));
  FAILS(ENXIO, open("pipe", O_WRONLY | O_NONBLOCK));
  pid_t child = fork();
  if (child == 0) {
    int fd = open("pipe", O_WRONLY);
    _exit(write(fd, "through", 7) == 7 ? 0 : 1);
  }
  int fd = (int)OK(open("pipe", O_RDONLY));
  char text[16];
  IS(read(fd, text, sizeof text), 7);
  HOLDS(!memcmp(text, "through", 7));
  IS(exit_status(child), 0);
  IS(read(fd, text, sizeof text), 0);
  close(fd);
  IS(status_of("pipe").st_size, 0);
  FAILS(ESPIPE, lseek((int)OK(open("pipe", O_RDWR)), 0, SEEK_SET));
  about("permissions");
  OK(chmod("pipe", 0600));
  AS(OTHER, GUESTS) { FAILS(EACCES, open("pipe", O_RDWR)); }
}

TEST(device_io) {
  struct statvfs mount;
  OK(statvfs(".", &mount));
  OK(mknod("null", S_IFCHR | 0666, makedev(1, 3)));
  OK(mknod("zero", S_IFCHR | 0666, makedev(1, 5)));
  if (mount.f_flag & ST_NODEV) {
    FAILS(EACCES, open("null", O_RDWR));
    return;
  }
  int null = (int)OK(open("null", O_RDWR)), zero = (int)OK(open("zero", O_RDONLY));
  char text[16] = "something";
  IS(write(null, text, sizeof text), sizeof text);
  IS(read(null, text, sizeof text), 0);
  IS(read(zero, text, sizeof text), sizeof text);
  IS(text[0], 0);
  IS(status_of("null").st_size, 0);
  OK(mknod("missing", S_IFCHR | 0666, makedev(4000, 4000)));
  FAILS(ENXIO, open("missing", O_RDWR));
  OK(chmod("null", 0600));
  AS(OTHER, GUESTS) { FAILS(EACCES, open("null", O_RDWR)); }
}

TEST(socket_io) {
  struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket"};
  int listener = (int)OK(socket(AF_UNIX, SOCK_STREAM, 0));
  OK(bind(listener, (struct sockaddr *)&address, sizeof address));
  OK(listen(listener, 1));
  IS(status_of("socket").st_mode & S_IFMT, S_IFSOCK);
  FAILS(ENXIO, open("socket", O_RDWR));
  int client = (int)OK(socket(AF_UNIX, SOCK_STREAM, 0));
  OK(connect(client, (struct sockaddr *)&address, sizeof address));
  int server = (int)OK(accept(listener, NULL, NULL));
  char text[8];
  IS(write(client, "hello", 5), 5);
  IS(read(server, text, sizeof text), 5);
  about("bind again");
  int second = (int)OK(socket(AF_UNIX, SOCK_STREAM, 0));
  FAILS(EADDRINUSE, bind(second, (struct sockaddr *)&address, sizeof address));
  about("permissions");
  OK(chmod("socket", 0600));
  AS(OTHER, GUESTS) { FAILS(EACCES, connect(second, (struct sockaddr *)&address, sizeof address)); }
  about("renamed and nobody listening");
  OK(rename("socket", "renamed"));
  strcpy(address.sun_path, "renamed");
  OK(connect(second, (struct sockaddr *)&address, sizeof address));
  close(listener);
  int third = (int)OK(socket(AF_UNIX, SOCK_STREAM, 0));
  FAILS(ECONNREFUSED, connect(third, (struct sockaddr *)&address, sizeof address));
}
