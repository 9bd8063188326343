// Rival processes; see rival.h.
#include "bench/rival.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "runtime/base/cpu.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"

extern char **environ;

struct ig_rival {
  char *name;
  pid_t pid;
  FILE *to, *from;
  json_t *greeting;
  uint64_t start_ns;
};

void ig_rival_put(const ig_rival *r, double ns, ig_times *theirs, ig_ratios rounds, json_t *row) {
  static const char *const texts[][2] = {
      {"rival_version", "version"}, {"rival_recipe", "recipe"}, {"rival_environment", "environment"}};
  const double rival_ns = (double)ig_times_quantile(theirs, 0.5);
  json_object_set_new(row, "rival", json_string(ig_rival_name(r)));
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    json_object_set(row, texts[i][0], json_object_get(ig_rival_greeting(r), texts[i][1]));
  json_object_set_new(row, "rival_ns", json_integer((json_int_t)rival_ns));
  json_object_set_new(row, "rival_ns_min", json_integer((json_int_t)ig_times_quantile(theirs, 0)));
  ig_put_number(row, "ratio", rival_ns / ns);
  ig_put_number(row, "ratio_low", rounds.low);
  ig_put_number(row, "ratio_high", rounds.high);
}

void ig_bench_pause(void) {
  const struct timespec tenth = {0, 100000000};
  nanosleep(&tenth, NULL);
}

ig_status ig_bench_folder(char **out) {
  const char *base = getenv("TMPDIR");
  IG_TRY(ig_asprintf(out, "%s/ingot-bench-XXXXXX", base && *base ? base : "/tmp"));
  if (mkdtemp(*out))
    return IG_OK;
  ig_status status = ig_fail(IG_ERR_IO, "%s: %s", *out, strerror(errno));
  ig_free(*out);
  *out = NULL;
  return status;
}

// The folder of the scripts: beside the sources that this was built from, or where INGOT_RIVALS says.
static const char *scripts(void) {
  const char *given = getenv("INGOT_RIVALS");
  return given && *given ? given : INGOT_RIVALS_SOURCE;
}

static ig_status python(char **out) {
  const char *given = getenv("INGOT_RIVALS_PYTHON");
  IG_TRY(given && *given ? ig_strdup(given, out) : ig_asprintf(out, "%s/../../.venv/bin/python", scripts()));
  if (access(*out, X_OK) == 0)
    return IG_OK;
  ig_status status = ig_fail(IG_ERR_NOT_FOUND,
                             "rivals=: there is no %s; ./dev rivals installs PyTorch there, or INGOT_RIVALS_PYTHON "
                             "names a Python that has it",
                             *out);
  ig_free(*out);
  *out = NULL;
  return status;
}

// ---- environment ----
static bool is_setting(const char *entry) {
  static const char *const names[] = {"GOMP_", "OMP_", "KMP_", "MALLOC_", "GLIBC_TUNABLES=", "LD_PRELOAD="};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (!strncmp(entry, names[i], strlen(names[i])))
      return true;
  return false;
}

// Ours without what steers threads and memory, and for the tuned ones the settings that are known to help. Entries are
// borrowed; the array is the caller's.
static ig_status environment(bool tuned, const char ***out) {
  // Freed memory stays (no trimming, no mmap of its own for large blocks) on huge pages; idle threads spin shortly.
  static const char *const settings[] = {"GOMP_SPINCOUNT=10000", "MALLOC_TRIM_THRESHOLD_=17179869184",
                                         "MALLOC_MMAP_THRESHOLD_=17179869184", "MALLOC_TOP_PAD_=268435456",
                                         "GLIBC_TUNABLES=glibc.malloc.hugetlb=1"};
  const size_t n_settings = sizeof settings / sizeof *settings;
  size_t n = 0, at = 0;
  while (environ[n])
    n++;
  IG_TRY(ig_alloc_array(n + n_settings + 1, sizeof **out, "environment", out));
  for (size_t i = 0; i < n; i++)
    if (!is_setting(environ[i]))
      (*out)[at++] = environ[i];
  for (size_t i = 0; tuned && i < n_settings; i++)
    (*out)[at++] = settings[i];
  return IG_OK;
}

// ---- process ----
static ig_status spawn(ig_rival *r, const char *program, const char *script, const char *spec, bool tuned) {
  const char **env = NULL, *const args[] = {program, script, spec, NULL};
  int in[2] = {-1, -1}, from[2] = {-1, -1}, failed = 0;
  posix_spawn_file_actions_t actions;
  IG_TRY(environment(tuned, &env));
  if (pipe2(in, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
    failed = errno;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], 0);
  posix_spawn_file_actions_adddup2(&actions, from[1], 1);
  if (!failed)
    failed = posix_spawn(&r->pid, program, &actions, NULL, (char *const *)args, (char *const *)env);
  posix_spawn_file_actions_destroy(&actions);
  ig_free(env);
  close(in[0]);
  close(from[1]);
  r->to = failed ? NULL : fdopen(in[1], "w");
  r->from = failed ? NULL : fdopen(from[0], "r");
  if (failed || !r->to || !r->from)
    return ig_fail(IG_ERR_IO, "%s cannot be started: %s", program, strerror(failed ? failed : errno));
  return IG_OK;
}

// Its next line; libraries may print others before.
static ig_status read_answer(ig_rival *r, json_t **answer) {
  char *line = NULL;
  size_t capacity = 0;
  *answer = NULL;
  while (!*answer && getline(&line, &capacity, r->from) > 0)
    if (*line == '{')
      *answer = json_loads(line, 0, NULL);
  free(line);
  return *answer ? IG_OK : ig_fail(IG_ERR_IO, "rival %s ended; what it said stands above", r->name);
}

ig_status ig_rival_start(const char *name, const char *script, json_t *spec, ig_rival **out) {
  ig_rival *r = NULL;
  char *program = NULL, *path = NULL, *text = NULL;
  ig_status status = IG_OK;
  *out = NULL;
  IG_TRY(ig_alloc(sizeof *r, "rival", &r));
  IG_GOTO(ig_strdup(name, &r->name));
  IG_GOTO(python(&program));
  IG_GOTO(ig_path_join(&path, scripts(), script));
  if (!ig_path_exists(path))
    IG_GOTO(
        ig_fail(IG_ERR_NOT_FOUND, "rivals=%s: there is no %s; INGOT_RIVALS names the folder bench/rivals", name, path));
  json_object_set_new(spec, "variant", json_string(name));
  text = json_dumps(spec, JSON_COMPACT);
  if (!text)
    IG_GOTO(ig_no_json());
  uint64_t start = ig_now_ns();
  IG_GOTO(spawn(r, program, path, text, strchr(name, '-') != NULL));
  IG_GOTO(read_answer(r, &r->greeting));
  r->start_ns = ig_now_ns() - start;
  const char *refused = json_string_value(json_object_get(r->greeting, "refused"));
  if (refused)
    IG_GOTO(ig_fail(IG_ERR_UNSUPPORTED, "%s", refused));
  *out = r;
  r = NULL;
done:
  free(text);
  ig_free(program);
  ig_free(path);
  ig_rival_stop(r);
  return status;
}

void ig_rival_stop(ig_rival *r) {
  if (!r)
    return;
  if (r->to)
    fclose(r->to);  // the end of its input is its end
  if (r->from)
    fclose(r->from);
  while (r->pid > 0 && waitpid(r->pid, NULL, 0) < 0 && errno == EINTR) {
  }
  json_decref(r->greeting);
  ig_free(r->name);
  ig_free(r);
}

ig_status ig_rival_ask(ig_rival *r, json_t **answer, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int failed = vfprintf(r->to, format, args) < 0 || fputc('\n', r->to) == EOF || fflush(r->to);
  va_end(args);
  if (failed)
    return ig_fail(IG_ERR_IO, "rival %s does not listen: %s", r->name, strerror(errno));
  return read_answer(r, answer);
}

const char *ig_rival_name(const ig_rival *r) { return r->name; }
const json_t *ig_rival_greeting(const ig_rival *r) { return r->greeting; }
uint64_t ig_rival_start_ns(const ig_rival *r) { return r->start_ns; }
