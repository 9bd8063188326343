// `ingot bench loader`: decoding and augmenting pictures, beside torchvision. Rule: both sides start from the same
// files and end with normalised fp32 pictures in memory; nothing decoded is kept, and what is made ahead is not timed.
#include "runtime/data/loader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/rival.h"
#include "bindings/c/options.h"
#include "kernels/kernels.h"
#include "kernels/picture/picture.h"
#include "runtime/base/cpu.h"
#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"
#include "runtime/graph/plan.h"

enum { AHEAD = 8, BATCHES = 40, MAX_RIVALS = 4, DEFAULT_SIZE = 224 };
static const float mean[3] = {123.675f, 116.28f, 103.53f}, deviation[3] = {58.395f, 57.12f, 57.375f};
static const ig_augment augment = {
    .crop_scale_min = 0.08, .crop_scale_max = 1, .flip = true, .vflip = true, .jitter = 0.4};

typedef struct side {
  ig_rival *rival;  // NULL: ingot
  ig_times ns;      // a picture, of each round
  ig_times cpu_ns;  // of all threads and processes, a picture
  ig_ratios ratios;
} side;

typedef struct loader_bench {
  ig_dataset *data;
  ig_loader *loader;
  ig_device *device;
  ig_params params;
  ig_graph *graph;  // the pass that the training step makes over a batch: flips, colours, normalisation
  ig_plan *plan;
  ig_tensor *pictures, *aug, *partner, *result;
  float *normalised;
  size_t normalised_bytes;
  void *arena;
  size_t arena_bytes;
  int batch, image_size, threads;
  int64_t batches, rounds;
  double waited_ns, spent_ns;  // of our rounds
  side sides[1 + MAX_RIVALS];
  int n_sides;
  char *folder;
} loader_bench;

// ---- ingot's side ----
static ig_status make_pass(loader_bench *b) {
  ig_plan_bytes bytes;
  ig_picture_attr attr = {0};
  int64_t n = b->batch, size = b->image_size;
  memcpy(attr.mean, mean, sizeof mean);
  memcpy(attr.std, deviation, sizeof deviation);
  IG_TRY(ig_graph_create(&(ig_graph_options){.size = sizeof(ig_graph_options),
                                             .ops = ig_op_lists,
                                             .params = &b->params,
                                             .mode = IG_MODE_TRAIN,
                                             .compute_dtype = IG_F32},
                         &b->graph));
  b->pictures = ig_graph_input(b->graph, "pictures", IG_U8, IG_SHAPE4(n, size, size, 3));
  b->aug = ig_graph_input(b->graph, "aug", IG_F32, IG_SHAPE2(n, IG_N_AUG));
  b->partner = ig_graph_input(b->graph, "partner", IG_I32, IG_SHAPE1(n));
  b->result = ig_picture(b->graph, "normalise", b->pictures, b->aug, b->partner, &attr);
  IG_TRY(ig_graph_status(b->graph));
  ig_graph_output(b->graph, b->result, "normalised");
  IG_TRY(ig_plan_create(b->graph, &(ig_plan_options){.size = sizeof(ig_plan_options), .device = b->device}, &b->plan));
  ig_plan_get_bytes(b->plan, &bytes);
  b->arena_bytes = bytes.arena + 1;
  b->normalised_bytes = (size_t)ig_shape_count(&b->result->shape) * sizeof(float);
  IG_TRY(ig_alloc_pages(b->arena_bytes, "workspace", &b->arena));
  IG_TRY(ig_alloc_pages(b->normalised_bytes, "pictures", &b->normalised));
  IG_TRY(ig_plan_bind(b->plan, IG_SPACE_ARENA, b->arena));
  return ig_plan_set_io(b->plan, b->result, b->normalised);
}

static ig_status make_ingot(ig_call_state *c, loader_bench *b) {
  ig_isa isa;
  ig_params_init(&b->params);
  IG_TRY(ig_isa_parse(ig_config_str(c->config, "isa"), &isa));
  IG_TRY(ig_dataset_open(&(ig_dataset_options){.size = sizeof(ig_dataset_options),
                                               .data = ig_config_str(c->config, "data"),
                                               .needs_labels = true,
                                               .warn = ig_note_text,
                                               .warn_user = c},
                         &b->data));
  IG_TRY(ig_device_create_cpu(&(ig_cpu_options){.size = sizeof(ig_cpu_options),
                                                .threads = b->threads,
                                                .isa = isa,
                                                .impl_lists = ig_cpu_impl_lists,
                                                .libraries = ig_cpu_libraries()},
                              &b->device));
  IG_TRY(make_pass(b));
  return ig_loader_create(&(ig_loader_options){.size = sizeof(ig_loader_options),
                                               .data = b->data,
                                               .part = IG_PART_TRAIN,
                                               .train = true,
                                               .batch = b->batch,
                                               .image_size = b->image_size,
                                               .augment = augment,
                                               .threads = b->threads,
                                               .max_unreadable = 0.01,
                                               .warn = ig_note_text,
                                               .warn_user = c},
                          &b->loader);
}

static ig_status run_ingot(loader_bench *b, int64_t batches) {
  for (int64_t i = 0; i < batches; i++) {
    const ig_batch *batch;
    IG_TRY(ig_loader_next(b->loader, &batch));
    IG_TRY(ig_plan_set_io(b->plan, b->pictures, batch->pictures));
    IG_TRY(ig_plan_set_io(b->plan, b->aug, batch->aug));
    IG_TRY(ig_plan_set_io(b->plan, b->partner, batch->partner));
    IG_TRY(ig_plan_run(b->plan, NULL));
  }
  return IG_OK;
}

// ---- rivals ----
// path TAB label, a line a picture of the training part.
static ig_status write_list(loader_bench *b, char **path) {
  ig_text text = {0};
  ig_status status = IG_OK;
  IG_TRY(ig_bench_folder(&b->folder));
  IG_TRY(ig_path_join(path, b->folder, "pictures.txt"));
  for (size_t i = 0; i < b->data->count[IG_PART_TRAIN]; i++) {
    const ig_sample *s = &b->data->samples[b->data->index[IG_PART_TRAIN][i]];
    if (s->record >= 0)
      IG_GOTO(ig_fail(IG_ERR_UNSUPPORTED, "data=%s: rivals read picture files, not the records of %s", b->data->path,
                      s->path));
    char *real = realpath(s->path, NULL);
    status = ig_text_addf(&text, "%s\t%d\n", real ? real : s->path, s->label);
    free(real);
    IG_GOTO(status);
  }
  status = ig_file_write_atomic(*path, text.data, text.n);
done:
  ig_free(text.data);
  return status;
}

static ig_status start_rivals(ig_call_state *c, loader_bench *b) {
  size_t n = 0;
  const char *const *names = ig_config_list(c->config, "rivals", &n);
  char *list = NULL;
  json_t *spec = NULL;
  ig_status status = IG_OK;
  b->n_sides = 1;
  if (!n)
    return IG_OK;
  for (size_t i = 0; i < n; i++)
    if (n > MAX_RIVALS || (strcmp(names[i], "torchvision") && strcmp(names[i], "torchvision-tuned")))
      return ig_fail(IG_ERR_USAGE, "rivals=%s: bench loader knows torchvision and torchvision-tuned", names[i]);
  IG_GOTO(write_list(b, &list));
  spec = json_pack("{s:s, s:i, s:i, s:i, s:f, s:f, s:f, s:[f,f,f], s:[f,f,f]}", "list", list, "batch", b->batch,
                   "image_size", b->image_size, "threads", b->threads, "scale_min", augment.crop_scale_min, "scale_max",
                   augment.crop_scale_max, "jitter", augment.jitter, "mean", (double)mean[0], (double)mean[1],
                   (double)mean[2], "std", (double)deviation[0], (double)deviation[1], (double)deviation[2]);
  if (!spec)
    IG_GOTO(ig_no_json());
  for (size_t i = 0; i < n; i++) {
    ig_note(c, "%s: starting", names[i]);
    IG_GOTO(ig_rival_start(names[i], "torchvision_loader.py", spec, &b->sides[b->n_sides].rival));
    b->n_sides++;
  }
done:
  json_decref(spec);
  ig_free(list);
  return status;
}

// ---- turns ----
static ig_status turn(loader_bench *b, side *s) {
  uint64_t pictures = (uint64_t)b->batches * (uint64_t)b->batch, ns, cpu;
  if (s->rival) {
    json_t *answer;
    IG_TRY(ig_rival_ask(s->rival, &answer, "run %lld", (long long)b->batches));
    ns = (uint64_t)json_integer_value(json_object_get(answer, "ns"));
    cpu = (uint64_t)json_integer_value(json_object_get(answer, "cpu_ns"));
    json_decref(answer);
  } else {
    IG_TRY(run_ingot(b, AHEAD));
    uint64_t start = ig_now_ns(), cpu_start = ig_bench_cpu_ns(), waited = ig_loader_wait_ns(b->loader);
    IG_TRY(run_ingot(b, b->batches));
    ns = ig_now_ns() - start;
    cpu = ig_bench_cpu_ns() - cpu_start;
    b->waited_ns += (double)(ig_loader_wait_ns(b->loader) - waited);
    b->spent_ns += (double)ns;
  }
  IG_TRY(ig_times_add(&s->ns, ns / pictures));
  return ig_times_add(&s->cpu_ns, cpu / pictures);
}

static ig_status run_rounds(ig_call_state *c, loader_bench *b) {
  for (int64_t round = 0; round < b->rounds; round++)
    for (int i = 0; i < b->n_sides; i++) {
      side *s = &b->sides[i];
      for (int k = 0; k < 5; k++)  // until the other side's queues are full and its threads asleep
        ig_bench_pause();
      IG_TRY(turn(b, s));
      ig_note(c, "round %lld of %lld: %s %.0f pictures/s", (long long)round + 1, (long long)b->rounds,
              s->rival ? ig_rival_name(s->rival) : "ingot", 1e9 / (double)s->ns.ns[s->ns.n - 1]);
    }
  return IG_OK;
}

// ---- rows ----
static ig_status make_rows(loader_bench *b, const ig_machine *m, json_t **out) {
  char shape[96];
  side *us = &b->sides[0];
  for (int i = 1; i < b->n_sides; i++)
    b->sides[i].ratios = ig_times_ratios(&us->ns, &b->sides[i].ns);
  double ns = (double)ig_times_quantile(&us->ns, 0.5);
  double cpu = (double)ig_times_quantile(&us->cpu_ns, 0.5);
  double bytes = (double)b->image_size * b->image_size * 3 * (sizeof(uint8_t) + sizeof(float));
  *out = json_array();
  for (int i = b->n_sides > 1 ? 1 : 0; i < b->n_sides; i++) {
    side *s = &b->sides[i];
    snprintf(shape, sizeof shape, "%dx%d to %dx%d", b->data->typical_w, b->data->typical_h, b->image_size,
             b->image_size);
    json_t *row =
        json_pack("{s:s, s:s, s:s, s:i}", "name", "loader", "shape", shape, "precision", "fp32", "threads", b->threads);
    json_array_append_new(*out, row);
    IG_TRY(ig_times_put(&us->ns, row));
    ig_put_number(row, "samples_per_second", 1e9 / ns);
    ig_put_number(row, "samples_per_second_per_thread", 1e9 / ns / b->threads);
    json_object_set_new(row, "cpu_ns", json_integer((json_int_t)cpu));
    ig_put_number(row, "wait", b->waited_ns / b->spent_ns);
    ig_put_number(row, "gbps", bytes / ns);
    ig_put_number(row, "gflops", 0);
    ig_put_number(row, "roofline", ig_machine_roofline_ns(m, 0, bytes, false) / ns);
    if (!s->rival)
      continue;
    double rival_ns = (double)ig_times_quantile(&s->ns, 0.5), rival_cpu = (double)ig_times_quantile(&s->cpu_ns, 0.5);
    ig_rival_put(s->rival, ns, &s->ns, s->ratios, row);
    json_object_set_new(row, "rival_cpu_ns", json_integer((json_int_t)rival_cpu));
    ig_put_number(row, "rival_samples_per_second", 1e9 / rival_ns);
    ig_put_number(row, "cpu_ratio", rival_cpu / cpu);
  }
  return IG_OK;
}

static ig_status name_libraries(const loader_bench *b, json_t **out) {
  static const char *const names[] = {"libjpeg-turbo", "libjpeg", "libpng", "libtiff", "libwebp"};
  ig_rival *rivals[1 + MAX_RIVALS];
  for (int i = 0; i < 1 + MAX_RIVALS; i++)
    rivals[i] = b->sides[i].rival;
  return ig_bench_libraries(names, sizeof names / sizeof *names, rivals, 1 + MAX_RIVALS, out);
}

ig_status ig_bench_loader(ig_call_state *c) {
  const ig_config *k = c->config;
  loader_bench b = {
      .batch = (int)ig_config_int(k, "batch"),
      .image_size = ig_config_has_value(k, "image_size") ? (int)ig_config_int(k, "image_size") : DEFAULT_SIZE,
      .threads = ig_thread_count(c),
      .batches = ig_config_is_set(k, "steps") ? ig_config_int(k, "steps") : BATCHES,
      .rounds = ig_config_int(k, "rounds")};
  ig_machine machine;
  json_t *rows = NULL, *libraries = NULL;
  ig_status status = IG_OK;
  IG_TRY(ig_want_key(c, "data"));
  if (ig_bench_reads_texts(k))
    return ig_bench_text_loader(c);
  IG_GOTO(make_ingot(c, &b));
  IG_GOTO(start_rivals(c, &b));
  IG_GOTO(run_rounds(c, &b));
  ig_machine_measure(b.threads, b.device->caps.isa, &machine);
  IG_GOTO(make_rows(&b, &machine, &rows));
  IG_GOTO(name_libraries(&b, &libraries));
  status = ig_bench_answer(c, rows, libraries, &machine);
  rows = libraries = NULL;
done:
  json_decref(rows);
  json_decref(libraries);
  for (int i = 0; i < 1 + MAX_RIVALS; i++) {
    ig_rival_stop(b.sides[i].rival);
    ig_times_fini(&b.sides[i].ns);
    ig_times_fini(&b.sides[i].cpu_ns);
  }
  if (b.folder)
    ig_remove_tree(b.folder);
  ig_free(b.folder);
  ig_loader_destroy(b.loader);
  ig_dataset_close(b.data);
  ig_plan_destroy(b.plan);
  ig_graph_destroy(b.graph);
  ig_params_fini(&b.params);
  ig_device_destroy(b.device);
  ig_free_pages(b.normalised, b.normalised_bytes);
  ig_free_pages(b.arena, b.arena_bytes);
  return status;
}
