// Start-up in child processes; see startup.h.
#include "bench/startup.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/rival.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"

extern char **environ;

#define CHILD "INGOT_BENCH_CHILD"
enum { WARM_STARTS = 3 };

bool ig_bench_is_child(void) { return getenv(CHILD) != NULL; }

void ig_bench_child_says(const char *moment) {
  printf("%s\n", moment);
  fflush(stdout);
}

// Our environment with the cache elsewhere; entries [0] and [1] are the new ones.
static ig_status child_environment(const char *cache, char ***out) {
  size_t n = 0, at = 2;
  while (environ[n])
    n++;
  IG_TRY(ig_alloc_array(n + 3, sizeof **out, "environment", out));
  (*out)[0] = (char *)CHILD "=1";
  IG_TRY(ig_asprintf(&(*out)[1], "XDG_CACHE_HOME=%s", cache));
  for (size_t i = 0; i < n; i++)
    if (strncmp(environ[i], "XDG_CACHE_HOME=", 15) != 0)
      (*out)[at++] = environ[i];
  return IG_OK;
}

// One start: ns until the child says "begin" and "end".
static ig_status start_once(ig_call_state *c, char **env, uint64_t *begin, uint64_t *end) {
  const char **args = NULL;
  char line[64];
  int from[2] = {-1, -1}, code = 0;
  pid_t pid = 0;
  FILE *f = NULL;
  posix_spawn_file_actions_t actions;
  ig_status status = IG_OK;
  *begin = *end = 0;
  posix_spawn_file_actions_init(&actions);
  IG_GOTO(ig_alloc_array((size_t)c->n_words + 2, sizeof *args, "arguments", &args));
  args[0] = "ingot-bench";
  for (int i = 0; i < c->n_words; i++)
    args[i + 1] = c->words[i];
  if (pipe2(from, O_CLOEXEC) || posix_spawn_file_actions_adddup2(&actions, from[1], 1) || !(f = fdopen(from[0], "r")))
    IG_GOTO(ig_fail(IG_ERR_IO, "start-up: %s", strerror(errno)));
  uint64_t start = ig_now_ns();
  code = posix_spawn(&pid, "/proc/self/exe", &actions, NULL, (char *const *)args, env);
  close(from[1]);
  if (code)
    IG_GOTO(ig_fail(IG_ERR_IO, "start-up: this program cannot be started again: %s", strerror(code)));
  while (fgets(line, sizeof line, f)) {
    if (!strcmp(line, "begin\n"))
      *begin = ig_now_ns() - start;
    if (!strcmp(line, "end\n"))
      *end = ig_now_ns() - start;
  }
  while (waitpid(pid, &code, 0) < 0 && errno == EINTR) {
  }
  if (!*begin || !*end)
    IG_GOTO(
        ig_fail(IG_ERR_INTERNAL, "start-up: the started process failed (status %d); what it said stands above", code));
done:
  if (f)
    fclose(f);
  posix_spawn_file_actions_destroy(&actions);
  ig_free(args);
  return status;
}

ig_status ig_bench_startup(ig_call_state *c, json_t *row) {
  char *folder = NULL, **env = NULL;
  ig_times begins = {0}, ends = {0};
  uint64_t begin, end;
  ig_status status = IG_OK;
  IG_TRY(ig_bench_folder(&folder));
  IG_GOTO(child_environment(folder, &env));
  IG_GOTO(start_once(c, env, &begin, &end));
  json_object_set_new(row, "start_cold_ns", json_integer((json_int_t)begin));
  json_object_set_new(row, "first_step_cold_ns", json_integer((json_int_t)end));
  for (int i = 0; i < WARM_STARTS; i++) {
    IG_GOTO(start_once(c, env, &begin, &end));
    IG_GOTO(ig_times_add(&begins, begin));
    IG_GOTO(ig_times_add(&ends, end));
  }
  json_object_set_new(row, "start_ns", json_integer((json_int_t)ig_times_quantile(&begins, 0.5)));
  json_object_set_new(row, "first_step_ns", json_integer((json_int_t)ig_times_quantile(&ends, 0.5)));
done:
  ig_remove_tree(folder);
  ig_free(folder);
  if (env)
    ig_free(env[1]);
  ig_free(env);
  ig_times_fini(&begins);
  ig_times_fini(&ends);
  return status;
}
