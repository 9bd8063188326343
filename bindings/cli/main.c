// The program: words to ig_call, answers to the terminal, signals to "stop". Rule: uses the public header only.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "bindings/c/ingot.h"

static volatile sig_atomic_t stop_asked, interrupts;

static void on_signal(int number) {
  if (number == SIGINT && interrupts++)
    _exit(130);
  stop_asked = 1;
}

// A standard stream that is closed would be the number of the next file, and messages would be written into it. It is
// /dev/null the wrong way round, so that reading and writing fail as they did.
static void fill_standard_streams(void) {
  for (int fd = 0; fd <= STDERR_FILENO; fd++)
    if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", fd ? O_RDONLY : O_WRONLY) < 0)
      return;
}

// Idle threads of a parallel loop spin before they sleep, and libgomp's default spins until a second busy process
// brings both to a crawl. It reads its environment when it is loaded, so a short spin takes a second start.
static void spin_shortly(char **argv) {
  if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY") || setenv("GOMP_SPINCOUNT", "10000", 1))
    return;
  char path[4096];
  ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
  if (n > 0) {
    path[n] = 0;
    execv(path, argv);  // where that fails, the long spin stays
  }
}

// bench is a program of its own: beside this one, or in libexec/ingot of the same tree. Returns where there is none.
static void become_bench(char **argv) {
  static const char *const places[] = {"ingot-bench", "../libexec/ingot/ingot-bench"};
  char path[4096];
  ssize_t n = readlink("/proc/self/exe", path, sizeof path - 64);
  while (n > 0 && path[n - 1] != '/')
    n--;
  for (int i = 0; i < 2 && n > 0; i++) {
    snprintf(path + n, 64, "%s", places[i]);
    execv(path, argv + 1);
  }
}

typedef struct terminal {
  int rewrites;  // progress rewrites its line
  int shown;     // columns of the progress line on the screen
  struct timespec last;
  int failed;  // errno of a failed write of results
} terminal;

enum { PLAIN_SECONDS = 5 };

static int columns(void) {
  struct winsize size;
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1 : 79;
}

static void clear_progress(terminal *t) {
  if (t->shown)
    fprintf(stderr, "\r%*s\r", t->shown, "");
  t->shown = 0;
}

static void on_line(void *user, const char *text) {
  clear_progress(user);
  fprintf(stderr, "%s\n", text);
}

static void on_progress(void *user, const char *text) {
  terminal *t = user;
  if (t->rewrites) {
    int width = columns(), n = (int)strlen(text);
    n = n < width ? n : width;
    fprintf(stderr, "\r%.*s%*s", n, text, t->shown > n ? t->shown - n : 0, "");
    if (t->shown > n)
      fprintf(stderr, "\r%.*s", n, text);
    t->shown = n;
    if (!n)
      fputc('\r', stderr);
    fflush(stderr);
    return;
  }
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (!*text || (t->last.tv_sec && now.tv_sec - t->last.tv_sec < PLAIN_SECONDS))
    return;
  t->last = now;
  fprintf(stderr, "%s\n", text);
}

static void write_result(terminal *t, const char *text, int newline) {
  clear_progress(t);
  errno = 0;
  if ((fputs(text, stdout) < 0 || (newline && fputc('\n', stdout) == EOF) || fflush(stdout)) && !t->failed)
    t->failed = errno ? errno : EIO;
}

static void on_result(void *user, const char *json) { write_result(user, json, 1); }

static void on_table(void *user, const char *text) {
  size_t n = strlen(text);
  write_result(user, text, n && text[n - 1] != '\n');
}

// A reader that went away, or whoever wants us gone, ends the work at the step's end.
static int on_should_stop(void *user) { return stop_asked || ((terminal *)user)->failed; }

// Only what asks between steps stops in good order; everything else ends at once.
static void catch_signals(int asks) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  sigemptyset(&action.sa_mask);
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  if (asks) {
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct sigaction hangup;
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)  // nohup means to go on
      sigaction(SIGHUP, &action, NULL);
  }
  action.sa_handler = SIG_IGN;  // writes fail with EPIPE and EFBIG in place of an end without a word
  sigaction(SIGPIPE, &action, NULL);
  sigaction(SIGXFSZ, &action, NULL);
}

static void write_error(const char *message) {
  const char *plain = getenv("NO_COLOR"), *terminal_name = getenv("TERM");
  int colour = isatty(STDERR_FILENO) && !(plain && *plain) && !(terminal_name && strcmp(terminal_name, "dumb") == 0);
  fprintf(stderr, "%serror:%s %s\n", colour ? "\033[1;31m" : "", colour ? "\033[0m" : "", message);
}

int main(int argc, char **argv) {
  fill_standard_streams();
  spin_shortly(argv);
  static const char *const help_words[] = {"help"};
  const char *verb = argc > 1 ? argv[1] : help_words[0];
  int n_words = argc > 2 ? argc - 2 : 0;
  const char *const *words = (const char *const *)argv + 2;
  terminal t = {.rewrites = isatty(STDERR_FILENO)};
  const char *wanted_help;
  if (!strcmp(verb, "--version") || !strcmp(verb, "-V"))
    verb = "version";
  if (!strcmp(verb, "--help") || !strcmp(verb, "-h"))
    verb = "help";
  for (int i = 0; i < n_words; i++)
    if (!strcmp(words[i], "--help") || !strcmp(words[i], "-h")) {  // ingot train --help
      wanted_help = verb;
      words = &wanted_help;
      n_words = strcmp(verb, "help") != 0;
      verb = "help";
      break;
    }
  if (!strcmp(verb, "bench"))
    become_bench(argv);
  int shard = 0;
  for (int i = 0; i < n_words && !strcmp(verb, "data"); i++)
    shard |= !strcmp(words[i], "shard");
  catch_signals(!strcmp(verb, "train") || !strcmp(verb, "demo") || !strcmp(verb, "eval") || shard);
  ig_callbacks callbacks = {.size = sizeof callbacks,
                            .user = &t,
                            .line = on_line,
                            .progress = on_progress,
                            .result = on_result,
                            .table = on_table,
                            .should_stop = on_should_stop};
  ig_status status = ig_call(verb, n_words, words, &callbacks);
  clear_progress(&t);
  if (status == IG_OK && argc < 2) {
    write_error("a verb is missing");
    return ig_status_exit_code(IG_ERR_USAGE);
  }
  if (status != IG_OK && *ig_error_message()) {
    if (status == IG_STOPPED)
      fprintf(stderr, "%s\n", ig_error_message());
    else
      write_error(ig_error_message());
  }
  if (t.failed) {
    char message[256];
    snprintf(message, sizeof message, "standard output: %s", strerror(t.failed));
    if (t.failed != EPIPE)
      write_error(message);
    if (status == IG_OK)
      status = IG_ERR_IO;
  }
  return ig_status_exit_code(status);
}
