// train and plan. Rule: a run folder is continued only by the configuration that began it; what the command line leaves
// open comes from the run itself.
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bindings/c/options.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"

// "<model>-<data>-": what names of this pair's runs start with.
static ig_status run_prefix(ig_call_state *c, char **out) {
  IG_TRY(ig_want_key(c, "model"));
  IG_TRY(ig_want_key(c, "data"));
  IG_TRY(ig_absolute_key(c, "data"));
  char data[256];
  snprintf(data, sizeof data, "%s", ig_config_str(c->config, "data"));
  for (size_t n = strlen(data); n > 1 && data[n - 1] == '/'; n--)
    data[n - 1] = 0;
  return ig_asprintf(out, "%s-%s-", ig_path_name(ig_config_str(c->config, "model")), ig_path_name(data));
}

// Whether runs/<name> is a run that began, of this prefix: <prefix><date>[-n]. The prefix of data=a is also one of
// data=a-b.
static bool is_default_run(const char *name, const char *prefix) {
  static const char date[] = "dddddddd-dddddd";
  const size_t n = strlen(prefix);
  if (strncmp(name, prefix, n) != 0)
    return false;
  for (size_t i = 0; date[i]; i++)
    if (date[i] == 'd' ? name[n + i] < '0' || name[n + i] > '9' : name[n + i] != date[i])
      return false;
  const char *rest = name + n + sizeof date - 1;
  if (*rest && (*rest != '-' || rest[1 + strspn(rest + 1, "0123456789")]))
    return false;
  char *path = NULL;
  const bool begun = ig_asprintf(&path, "runs/%s/args.yaml", name) == IG_OK && ig_path_exists(path);
  ig_free(path);
  return begun;
}

// runs/<prefix><date>[-n]; with `existing` the newest that is there, where there is one. Dates sort as text.
static ig_status default_run(ig_call_state *c, bool existing, char **out) {
  char *prefix = NULL, date[32];
  ig_status status = IG_OK;
  *out = NULL;
  IG_TRY(run_prefix(c, &prefix));
  DIR *dir = existing ? opendir("runs") : NULL;
  char best[256] = "";
  for (struct dirent *e; dir && (e = readdir(dir));)
    if (strcmp(e->d_name, best) > 0 && is_default_run(e->d_name, prefix))
      snprintf(best, sizeof best, "%s", e->d_name);
  if (dir)
    closedir(dir);
  if (*best) {
    IG_GOTO(ig_asprintf(out, "runs/%s", best));
    goto done;
  }
  struct tm parts;
  time_t now = time(NULL);
  localtime_r(&now, &parts);
  strftime(date, sizeof date, "%Y%m%d-%H%M%S", &parts);
  IG_GOTO(ig_asprintf(out, "runs/%s%s", prefix, date));
  for (int i = 2; ig_path_exists(*out); i++) {
    ig_free(*out);
    IG_GOTO(ig_asprintf(out, "runs/%s%s-%d", prefix, date, i));
  }
done:
  ig_free(prefix);
  return status;
}

// Where resume=PATH points: the run folder, and the checkpoint where PATH is one.
static ig_status resume_from(const char *path, ig_train_setup *s) {
  bool is_run, is_step;
  IG_TRY(ig_path_holds(path, "args.yaml", &is_run));
  IG_TRY(ig_path_holds(path, "MANIFEST", &is_step));
  if (is_run)
    return ig_strdup(path, &s->out);
  if (!is_step)
    return ig_fail(IG_ERR_NOT_FOUND,
                   "resume=%s: neither auto nor a run folder (with args.yaml) nor a checkpoint (with MANIFEST)", path);
  IG_TRY(ig_strdup(path, &s->resume_path));
  char *real = realpath(path, NULL);  // RUN/checkpoints/step-N
  if (!real)
    return ig_fail(IG_ERR_IO, "resume=%s: cannot be resolved", path);
  for (int i = 0; i < 2 && strrchr(real, '/') > real; i++)
    *strrchr(real, '/') = 0;
  ig_status status = ig_strdup(real, &s->out);
  free(real);
  IG_TRY(status);
  IG_TRY(ig_path_holds(s->out, "args.yaml", &is_run));
  return is_run ? IG_OK
                : ig_fail(IG_ERR_USAGE,
                          "resume=%s: this checkpoint lies in no run folder (RUN/checkpoints/step-N beside "
                          "RUN/args.yaml); start a new run from it with weights=%s",
                          path, path);
}

static ig_status find_run(ig_call_state *c, ig_train_setup *s, int *resume) {
  const ig_config *k = c->config;
  const char *from = ig_config_str(k, "resume");
  *resume = !from || !*from || !strcmp(from, "none") ? IG_RESUME_NO : IG_RESUME_AUTO;
  if (*resume && strcmp(from, "auto") != 0) {
    IG_TRY(resume_from(from, s));
    if (s->resume_path)
      *resume = IG_RESUME_PATH;
    const char *out = ig_config_str(k, "out");
    char *a = out ? realpath(out, NULL) : NULL, *b = realpath(s->out, NULL);
    bool other = out && (!a || !b || strcmp(a, b) != 0);
    free(a);
    free(b);
    return other
               ? ig_fail(IG_ERR_USAGE,
                         "resume=%s goes on in its own run folder %s, not in out=%s; leave out= out, or start another "
                         "run with weights=%s",
                         from, s->out, out, from)
               : IG_OK;
  }
  if (ig_config_has_value(k, "out") && *ig_config_str(k, "out"))
    IG_TRY(ig_strdup(ig_config_str(k, "out"), &s->out));
  else
    IG_TRY(default_run(c, *resume == IG_RESUME_AUTO, &s->out));
  return IG_OK;
}

// What a start leaves that was killed before the run began: the lock, an args.yaml that was being written, tokens of a
// corpus whose cache cannot be written.
static bool is_of_a_start(const char *name) {
  const bool unfinished =
      ig_path_ends_in(name, "tmp") && (!strncmp(name, "args.yaml.", 10) || strstr(name, ".tokens."));
  return name[0] == '.' || unfinished || ig_path_ends_in(name, "tokens") || ig_path_ends_in(name, "parts") ||
         ig_path_ends_in(name, "lock");
}

// Clears *empty where the folder holds anything else but `except`.
static void only_holds(const char *folder, const char *except, bool *empty) {
  DIR *dir = opendir(folder);
  for (struct dirent *e; dir && (e = readdir(dir));)
    *empty = *empty && (is_of_a_start(e->d_name) || !strcmp(e->d_name, except));
  if (dir)
    closedir(dir);
}

// A folder that already holds something is no place for a new run, which would write over files of its names. What
// holds checkpoints, for resume=auto, is a run that lost its args.yaml.
static ig_status check_place(const char *out, bool resume) {
  if (ig_path_exists(out) && !ig_path_is_dir(out))
    return ig_fail(IG_ERR_USAGE, "out=%s is a file; a folder is expected", out);
  bool empty = true, unsaved = true;
  char *checkpoints;
  IG_TRY(ig_path_join(&checkpoints, out, "checkpoints"));
  only_holds(out, "checkpoints", &empty);
  only_holds(checkpoints, "", &unsaved);  // a start that was refused leaves it, empty
  ig_free(checkpoints);
  if ((empty && unsaved) || (resume && !unsaved))
    return IG_OK;
  return ig_fail(IG_ERR_USAGE,
                 resume ? "out=%s is no run (it has no args.yaml) and not empty: name a new folder"
                        : "out=%s is not empty: name a new folder",
                 out);
}

static ig_status check_new(const char *out) {
  bool is_run;
  IG_TRY(ig_path_holds(out, "args.yaml", &is_run));
  return is_run ? ig_fail(IG_ERR_USAGE,
                          "out=%s holds a run already: go on with it by resume=auto, or name another folder", out)
                : check_place(out, false);
}

static ig_status add_change(ig_text *t, const char *name, const char *a, const char *b) {
  return ig_text_addf(t, "%s%s: %s -> %s", t->n ? "; " : "", name, a ? a : "(not set)", b ? b : "(not set)");
}

// What the run was begun with stands below config files and command line; what these change is compared.
static ig_status continue_run(ig_call_state *c, const char *out) {
  ig_status status = IG_OK;
  ig_config *saved = NULL;
  ig_config_change *changes = NULL;
  ig_text text = {0};
  char *path = NULL;
  size_t n;
  IG_TRY(ig_path_join(&path, out, "args.yaml"));
  if (!ig_path_exists(path)) {
    ig_free(path);
    return check_place(out, true);  // resume=auto starts
  }
  IG_GOTO(ig_absolute_data_keys(c));
  IG_GOTO(ig_absolute_model_keys(c));
  if (!ig_config_is(c->config, "class_weights", "none") && !ig_config_is(c->config, "class_weights", "balanced"))
    IG_GOTO(ig_absolute_key(c, "class_weights"));
  IG_GOTO(ig_config_create(&saved, &ig_keys, "train"));
  IG_GOTO(ig_config_load(saved, path));
  for (size_t i = 0; i < ig_keys.n_keys; i++) {
    const ig_key *key = &ig_keys.keys[i];
    if (!(key->verbs >> IG_VERB_TRAIN & 1) || key->flags & IG_KEY_NOT_SAVED || key->type == IG_KEY_CONFIG ||
        !ig_config_is_set(saved, key->name))
      continue;
    const char *other = !strcmp(key->name, "epochs") ? "steps" : !strcmp(key->name, "steps") ? "epochs" : NULL;
    if (other && ig_config_has_value(c->config, other) && !ig_config_has_value(c->config, key->name))
      IG_GOTO(
          ig_fail(IG_ERR_USAGE, "%s: the run counts %s; give %s= in place of %s=", out, key->name, key->name, other));
    IG_GOTO(
        ig_config_set(c->config, key->name, ig_config_str(saved, key->name), IG_FROM_PRESET, "args.yaml of the run"));
  }
  IG_GOTO(ig_config_diff(saved, c->config, &changes, &n));
  for (size_t i = 0; i < n; i++) {
    const char *name = changes[i].key->name;
    bool length = !strcmp(name, "epochs") || !strcmp(name, "steps");
    bool shorter =
        length && changes[i].a && changes[i].b && ig_config_int(c->config, name) < ig_config_int(saved, name);
    if (!(changes[i].key->flags & IG_KEY_MAY_CHANGE) || shorter)
      IG_GOTO(add_change(&text, name, changes[i].a, changes[i].b));
  }
  if (text.n)
    IG_GOTO(ig_fail(IG_ERR_MISMATCH,
                    "%s was begun with another configuration (%s); a resume may change device, threads, save_every, "
                    "keep, time_limit, memory, cache, and epochs or steps upward; for all else start a new run "
                    "(weights=%s)",
                    out, text.data, out));
done:
  ig_free(text.data);
  ig_free(changes);
  ig_config_destroy(saved);
  ig_free(path);
  return status;
}

// What a person wants at the end: how long, how good, where it lies, what next.
static ig_status train_text(const ig_call_state *c, const ig_train_setup *s, const json_t *result, ig_text *out) {
  int seconds = (int)(json_number_value(json_object_get(result, "seconds")) + 0.5);
  const char *split = ig_config_str(c->config, "split");
  const char *noun = ig_dataset_noun(s->data);
  const bool mlm = s->data->task == IG_TASK_MLM, held_out = json_is_integer(json_object_get(result, "best_epoch"));
  const long long epochs = (long long)json_integer_value(json_object_get(result, "epochs"));
  const long long steps = (long long)json_integer_value(json_object_get(result, "steps"));
  IG_TRY(ig_text_addf(out, "trained %lld %s (%lld %s) in %d min %02d s; kept: the weights of ", epochs,
                      ig_plural((unsigned long long)epochs, "epoch", "epochs"), steps,
                      ig_plural((unsigned long long)steps, "step", "steps"), seconds / 60, seconds % 60));
  if (!held_out) {
    IG_TRY(ig_text_addf(out, "the last epoch; nothing was held out, so that the accuracy is not known\n"));
  } else {
    const json_t *highest = json_object_get(result, "highest_accuracy");
    IG_TRY(ig_text_addf(out, "epoch %lld, the ", (long long)json_integer_value(json_object_get(result, "best_epoch"))));
    if (highest)
      IG_TRY(ig_text_addf(out, "last within a standard error of the highest accuracy (%.2f %%) on the validation %s\n",
                          100 * json_number_value(highest), noun));
    else
      IG_TRY(ig_text_addf(out, "best on the validation %s\n", noun));
    IG_TRY(ig_text_addf(out, "\nOn the validation %s, by which the epoch was chosen:\n", noun));
    IG_TRY(ig_scores_text(result, out));
  }
  IG_TRY(ig_text_addf(out, "\nreport   %s/report.html\nweights  %s/model.safetensors\n", s->out, s->out));
  if (s->data->count[IG_PART_TEST])
    IG_TRY(ig_text_addf(out, "next     ingot eval weights=%s data=%s%s%s  (the %zu test %s)\n", s->out, s->data->path,
                        split && *split ? " split=" : "", split ? split : "", s->data->count[IG_PART_TEST], noun));
  if (mlm)
    return ig_text_addf(out, "next     ingot train model=%s weights=%s data=LABELLED-TEXTS\n",
                        s->options.session.model->name, s->out);
  return ig_text_addf(out, "next     ingot predict weights=%s %s\n", s->out,
                      s->text.tokenizer ? "FILE-WITH-A-TEXT-A-LINE" : "PICTURES");
}

// A line of what is trained on what, and one of how its pictures are turned.
static void describe_data(ig_call_state *c, const ig_train_setup *s) {
  static const char *const outputs[] = {[IG_TASK_CLASSIFY] = "classes",
                                        [IG_TASK_REGRESS] = "numbers",
                                        [IG_TASK_MULTILABEL] = "labels",
                                        [IG_TASK_TAG] = "tags"};
  const ig_dataset *d = s->data;
  char what[48] = "";
  if (d->task != IG_TASK_MLM)
    snprintf(what, sizeof what, ", %d %.*s", d->n_classes, (int)strlen(outputs[d->task]) - (d->n_classes == 1),
             outputs[d->task]);
  ig_note(c, "%s on %s: %zu training, %zu validation %s%s; run folder %s", s->options.session.model->name, d->path,
          d->count[IG_PART_TRAIN], d->count[IG_PART_VAL], ig_dataset_noun(d), what, s->out);
  if (d->count[IG_PART_VAL] == 0 && d->task == IG_TASK_MLM)
    ig_note(c,
            "no %s is held out (split=%s): how good the model is will not be known, and the weights of the last epoch "
            "are kept; a share such as split=0.05 is held out",
            ig_dataset_noun_of(d, 1), ig_config_str(c->config, "split"));
  else if (d->count[IG_PART_VAL] == 0)
    ig_note(c,
            "no %s is held out (that would leave a class, or all, without training %s): how good the model is will not "
            "be known, and the weights of the last epoch are kept; add labelled %s, or name others by val= or a "
            "split file",
            ig_dataset_noun_of(d, 1), ig_dataset_noun(d), ig_dataset_noun(d));
  ig_describe_texts(c, s->data);
  if (s->options.augment.vflip || s->options.augment.transpose)
    ig_note(c, "pictures are also shown upside down or turned; where direction matters: flip=0 vflip=0 transpose=0");
}

// Copies that a launcher started would each train alone, on the same data and for the same folder.
static ig_status want_one_process(void) {
  static const char *const counts[] = {"WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    const char *text = getenv(counts[i]);
    const long n = text ? strtol(text, NULL, 10) : 1;
    if (n > 1)
      return ig_fail(IG_ERR_UNSUPPORTED,
                     "%s=%ld: a launcher started %ld processes, and this build trains in one; start it once, without "
                     "the launcher, or unset %s",
                     counts[i], n, n, counts[i]);
  }
  return IG_OK;
}

ig_status ig_verb_train(ig_call_state *c) {
  ig_status status = IG_OK;
  ig_train_setup s = {0};
  json_t *result = NULL;
  ig_text text = {0};
  int resume;
  IG_TRY(ig_want_paths(c, 0, 0));
  IG_TRY(want_one_process());
  IG_GOTO(find_run(c, &s, &resume));
  if (resume == IG_RESUME_NO)
    IG_GOTO(check_new(s.out));
  else
    IG_GOTO(continue_run(c, s.out));
  IG_GOTO(ig_train_setup_init(c, &s));
  s.options.out = s.out;
  s.options.resume = resume;
  s.options.resume_path = s.resume_path;
  describe_data(c, &s);
  ig_train_callbacks callbacks = {c, ig_note_text, ig_show_progress, ig_asked_to_stop};
  IG_GOTO(ig_train_run(&s.options, &callbacks, &result));
  ig_show_progress(c, "");
  IG_GOTO(train_text(c, &s, result, &text));
  IG_GOTO(ig_answer(c, result, text.data));
done:
  json_decref(result);
  ig_free(text.data);
  ig_train_setup_fini(&s);
  return status;
}

ig_status ig_verb_plan(ig_call_state *c) {
  ig_status status = IG_OK;
  ig_train_setup s = {0};
  ig_plan_summary p;
  json_t *rows = NULL, *object = NULL;
  IG_GOTO(ig_train_setup_init(c, &s));
  s.options.out = "";
  IG_GOTO(ig_train_plan(&s.options, &p, &rows));
  object =
      json_pack("{s:s, s:I, s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}, s:f, s:f, s:f, s:i, s:i, s:O}",
                "model", s.options.session.model->name, "parameters", (json_int_t)p.parameters, "bytes", "weights",
                (json_int_t)p.weights, "gradients", (json_int_t)p.gradients, "optimizer", (json_int_t)p.optimizer,
                "activations", (json_int_t)p.activations, "workspace", (json_int_t)p.workspace, "cache",
                (json_int_t)p.cache, "snapshot", (json_int_t)p.snapshot, "results", (json_int_t)p.results, "heap",
                (json_int_t)p.heap, "batches", (json_int_t)p.batches, "total", (json_int_t)p.total, "flops_per_step",
                p.flops_per_step, "seconds_per_step", p.seconds_per_step, "timed", p.timed, "batch", s.options.batch,
                "image_size", s.options.image_size, "layers", rows);
  if (!object)
    IG_GOTO(ig_no_json());
  IG_GOTO(ig_answer(c, object, NULL));
done:
  json_decref(object);
  json_decref(rows);
  ig_train_setup_fini(&s);
  return status;
}
