// The program ingot-bench, which `ingot bench` becomes. Rule: its words are the keys of the verb bench; answers go to
// standard output, everything for people to standard error, as of every verb.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench.h"
#include "runtime/base/status.h"

static void on_line(void *user, const char *text) { fprintf(stderr, "%s\n", text); }

static void on_text(void *user, const char *text) {
  size_t n = strlen(text);
  errno = 0;
  if ((fputs(text, stdout) < 0 || ((!n || text[n - 1] != '\n') && fputc('\n', stdout) == EOF) || fflush(stdout)))
    *(int *)user = errno ? errno : EIO;
}

enum { KERNELS = 1, STEP = 2, LOADER = 4, TOKENIZER = 8 };

static const struct {
  const char *name;
  ig_status (*run)(ig_call_state *c);
  unsigned bit;
} benches[] = {{"kernels", ig_bench_kernels, KERNELS},
               {"step", ig_bench_step, STEP},
               {"loader", ig_bench_loader, LOADER},
               {"tokenizer", ig_bench_tokenizer, TOKENIZER}};

// What a key asks for is measured or refused, never passed over.
static ig_status refuse_misfits(const ig_config *k, const char *word, unsigned bit) {
  static const struct {
    const char *key;
    unsigned of;
    const char *to;
  } keys[] = {{"op", KERNELS, "kernels"},
              {"shape", KERNELS, "kernels"},
              {"list", KERNELS, "kernels"},
              {"launches", KERNELS, "kernels"},
              {"cold", KERNELS, "kernels"},
              {"seconds", KERNELS, "kernels"},
              {"against", KERNELS, "kernels"},
              {"detail", STEP, "step"},
              {"trace", STEP, "step"},
              {"startup", STEP, "step"},
              {"offsets", TOKENIZER, "tokenizer"},
              {"data", LOADER | TOKENIZER, "loader and tokenizer"},
              {"tokenizer", LOADER | TOKENIZER, "loader and tokenizer"},
              {"rivals", STEP | LOADER | TOKENIZER, "step, loader and tokenizer"}};
  char quoted[IG_QUOTE_BYTES];
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
    if (!(keys[i].of & bit) && ig_config_is_set(k, keys[i].key))
      return ig_fail(IG_ERR_USAGE, "bench %s: %s=%s belongs to bench %s: leave it out", word, keys[i].key,
                     ig_shown(quoted, ig_config_str(k, keys[i].key)), keys[i].to);
  static const char *const measured[] = {"shape", "against", "launches", "seconds"};
  for (size_t i = 0; ig_config_bool(k, "list") && i < sizeof measured / sizeof *measured; i++)
    if (ig_config_is_set(k, measured[i]))
      return ig_fail(IG_ERR_USAGE, "bench kernels: list=1 measures nothing: leave %s=%s out", measured[i],
                     ig_shown(quoted, ig_config_str(k, measured[i])));
  return IG_OK;
}

static ig_status run(ig_call_state *c) {
  IG_TRY(ig_want_paths(c, 1, 1));
  const char *word = ig_config_path(c->config, 0);
  for (size_t i = 0; i < sizeof benches / sizeof *benches; i++)
    if (!strcmp(word, benches[i].name)) {
      IG_TRY(refuse_misfits(c->config, word, benches[i].bit));
      return benches[i].run(c);
    }
  char quoted[IG_QUOTE_BYTES];
  return ig_fail(IG_ERR_USAGE, "bench: %s is none of kernels, step, loader, tokenizer", ig_quote(quoted, word));
}

int main(int argc, char **argv) {
  // A short spin of idle threads, as in the program ingot: the library reads its environment when it is loaded.
  if (!getenv("GOMP_SPINCOUNT") && !getenv("OMP_WAIT_POLICY") && setenv("GOMP_SPINCOUNT", "10000", 1) == 0)
    execv("/proc/self/exe", argv);
  int write_failed = 0;
  signal(SIGPIPE, SIG_IGN);  // a rival that ends is an error with a message
  ig_call_state c = {
      .verb = "bench",
      .n_words = argc - 1,
      .words = (const char *const *)argv + 1,
      .callbacks = {
          .size = sizeof(ig_callbacks), .user = &write_failed, .line = on_line, .result = on_text, .table = on_text}};
  ig_status status = ig_config_create(&c.config, &ig_keys, c.verb);
  if (status == IG_OK)
    status = ig_config_args(c.config, c.n_words, c.words);
  if (status == IG_OK) {
    c.json = ig_config_bool(c.config, "json");
    c.quiet = ig_config_bool(c.config, "quiet");
    status = run(&c);
  }
  ig_config_destroy(c.config);
  if (status == IG_OK && write_failed)
    status = ig_fail(IG_ERR_IO, "standard output: %s", strerror(write_failed));
  if (status != IG_OK)
    fprintf(stderr, "error: %s\n", ig_error_message());
  return ig_status_exit_code(status);
}
