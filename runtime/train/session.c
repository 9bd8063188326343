// A model on a device with its weights.
#include "runtime/train/session.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/reorder/reorder.h"
#include "runtime/base/cpu.h"
#include "runtime/base/fileop.h"
#include "runtime/base/text.h"
#include "runtime/device/peak.h"

bool ig_name_matches(const char *pattern, const char *name) {
  const char *star = NULL, *resume = NULL;
  while (*name) {
    if (*pattern == '*') {
      star = ++pattern;
      resume = name;
    } else if (*pattern == *name) {
      pattern++;
      name++;
    } else if (star) {
      pattern = star;
      name = ++resume;
    } else {
      return false;
    }
  }
  while (*pattern == '*')
    pattern++;
  return !*pattern;
}

static bool is_frozen(void *user, const char *name) {
  const ig_session_options *o = user;
  for (size_t i = 0; i < o->n_freeze; i++)
    if (ig_name_matches(o->freeze[i], name))
      return true;
  return false;
}

static ig_status make_cpu(const ig_session_options *o, ig_device **out) {
  return ig_device_create_cpu(&(ig_cpu_options){.size = sizeof(ig_cpu_options),
                                                .threads = o->threads,
                                                .isa = o->isa,
                                                .winograd = o->winograd,
                                                .impl_lists = ig_cpu_impl_lists,
                                                .libraries = ig_cpu_libraries()},
                              out);
}

// device=: auto is the CPU, as the CUDA back end has not yet proved itself on a GPU; it is taken when named.
ig_status ig_session_device(const ig_session_options *o, ig_device **out) {
  const char *device = o->device ? o->device : "cpu";
  ig_cuda_options cuda = {.size = sizeof cuda, .tf32 = o->precision && !strcmp(o->precision, "tf32")};
  IG_TRY(ig_session_check_device(device));
  if (!strcmp(device, "cpu") || !strcmp(device, "auto"))
    return make_cpu(o, out);
  if (device[4])
    cuda.index = atoi(device + 5);
  return ig_device_create_cuda(&cuda, out);
}

ig_status ig_session_check_device(const char *device) {
  enum { MAX_DIGITS = 4 };
  char q[IG_QUOTE_BYTES];
  bool good = !strcmp(device, "cpu") || !strcmp(device, "auto") || !strcmp(device, "cuda");
  if (!strncmp(device, "cuda:", 5)) {
    const size_t digits = strspn(device + 5, "0123456789");
    good = digits > 0 && digits <= MAX_DIGITS && !device[5 + digits];
  }
  return good ? IG_OK : ig_fail(IG_ERR_USAGE, "device=%s: expected auto, cpu, cuda or cuda:N", ig_shown(q, device));
}

ig_status ig_session_compute(const ig_device_caps *caps, const char *precision, ig_dtype *out) {
  const bool gpu = caps->kind == IG_DEVICE_CUDA;
  precision = precision ? precision : "fp32";
  *out = IG_F32;
  if (!strcmp(precision, "auto"))
    *out = caps->bf16 && (gpu || ig_cpu_bf16_pays(caps->isa)) ? IG_BF16 : IG_F32;
  else if (!strcmp(precision, "bf16") && caps->bf16)
    *out = IG_BF16;
  else if (!strcmp(precision, "bf16") && gpu)
    return ig_fail(IG_ERR_UNSUPPORTED, "precision=bf16: %s (sm_%d) has no bf16 arithmetic; use precision=fp16",
                   caps->name, caps->architecture);
  else if (!strcmp(precision, "bf16"))
    return ig_fail(IG_ERR_UNSUPPORTED,
                   "precision=bf16: this processor (%s, %s) has no bf16 arithmetic and would emulate it several times "
                   "slower; use precision=fp32",
                   caps->name, ig_isa_name(caps->isa));
  else if (!strcmp(precision, "fp16") && gpu)
    *out = IG_F16;
  else if (strcmp(precision, "fp32") && (strcmp(precision, "tf32") || !caps->tf32))
    return ig_fail(IG_ERR_UNSUPPORTED, "precision=%s: %s", precision,
                   gpu ? "this GPU computes in fp32, bf16 or fp16, in tf32 from compute capability 8.0 on"
                       : "the cpu computes in fp32 or bf16");
  return IG_OK;
}

ig_text_inputs ig_session_text_inputs(ig_graph *g, int64_t rows, int64_t sequences, int64_t masked) {
  return (ig_text_inputs){
      .ids = ig_graph_input(g, "ids", IG_I32, IG_SHAPE1(rows)),
      .types = ig_graph_input(g, "types", IG_I32, IG_SHAPE1(rows)),
      .positions = ig_graph_input(g, "positions", IG_I32, IG_SHAPE1(rows)),
      .cu_seqlens = ig_graph_input(g, "cu_seqlens", IG_I32, IG_SHAPE1(sequences + 1)),
      .first = ig_graph_input(g, "first", IG_I32, IG_SHAPE1(sequences)),
      .masked = masked > 0 ? ig_graph_input(g, "masked", IG_I32, IG_SHAPE1(masked)) : NULL,
  };
}

// Parameters are named by building the evaluation graph once, at a small size.
static ig_status make_params(ig_session *s) {
  ig_graph *g = NULL;
  ig_status status = IG_OK;
  ig_params_init(&s->params);
  s->params.is_frozen = is_frozen;
  s->params.is_frozen_user = &s->options;
  IG_GOTO(ig_graph_create(&(ig_graph_options){.size = sizeof(ig_graph_options),
                                              .ops = ig_op_lists,
                                              .params = &s->params,
                                              .mode = IG_MODE_EVAL,
                                              .compute_dtype = IG_F32},
                          &g));
  const ig_model *m = s->options.model;
  if (m->build_text) {
    const ig_text_inputs in = ig_session_text_inputs(g, 2, 1, s->config.text_head == IG_TEXT_PRETRAIN);
    (void)m->build_text(m, g, &s->config, &in);
  } else {
    int side = m->default_size < 64 ? m->default_size : 64;
    ig_tensor *x = ig_graph_input(g, "pictures", IG_F32, IG_SHAPE4(1, side, side, 3));
    m->build(m, g, &s->config, x, NULL);
  }
  IG_GOTO(ig_graph_status(g));
  for (size_t i = 0; i < s->options.n_freeze; i++) {
    bool any = false;
    for (size_t j = 0; j < s->params.n && !any; j++)
      any = ig_name_matches(s->options.freeze[i], s->params.items[j]->name);
    if (!any)
      IG_GOTO(ig_fail(IG_ERR_USAGE, "freeze=%s matches no tensor of %s; the first is %s", s->options.freeze[i],
                      s->options.model->name, s->params.items[0]->name));
  }
  IG_GOTO(ig_params_layout(&s->params));
  uint64_t bytes = 0, limit = ig_memory_limit();
  for (int kind = 0; kind < IG_N_PARAM_KINDS; kind++)
    bytes += (uint64_t)s->params.count[kind] * sizeof(float);
  if (bytes > limit / 10 * 9)  // a host that is short of memory kills, so that the plan's own check would come too late
    IG_GOTO(ig_fail(IG_ERR_UNSUPPORTED, "%s: its weights alone take %.0f MiB, this machine allows %.0f MiB",
                    s->options.model->name, (double)bytes / (1 << 20), (double)limit / (1 << 20)));
  for (int kind = 0; kind < IG_N_PARAM_KINDS; kind++) {
    IG_GOTO(ig_mirror_create(s->device, (size_t)(s->params.count[kind] + 1) * sizeof(float), true, "weights",
                             &s->memory[kind]));
    s->buffers[kind] = s->memory[kind].host;
  }
  // Drawing 25 million numbers takes a thread 0.4 s; they are the same for any number of threads.
  const int saved = omp_get_max_threads();
  omp_set_num_threads(s->device->caps.threads);
  status = ig_params_initialize(&s->params, s->options.seed, s->buffers);
  omp_set_num_threads(saved);
done:
  ig_graph_destroy(g);
  return status;
}

ig_status ig_session_create(const ig_session_options *options, ig_session **out) {
  *out = NULL;
  if (options->size != sizeof *options)
    return ig_fail(IG_ERR_INTERNAL, "ig_session_options: size %zu, expected %zu", options->size, sizeof *options);
  ig_session *s;
  char *path = NULL;
  IG_TRY(ig_alloc(sizeof *s, "session", &s));
  ig_status status = IG_OK;
  s->options = *options;
  s->config = (ig_model_config){.size = sizeof(ig_model_config),
                                .classes = options->classes,
                                .zero_init_residual = options->zero_init_residual,
                                .dropout = (float)options->dropout,
                                .text_head = options->text_head,
                                .nsp = options->nsp};
  IG_GOTO(ig_session_device(&s->options, &s->device));
  IG_GOTO(ig_session_compute(&s->device->caps, s->options.precision, &s->compute));
  if (options->cache_dir)
    IG_GOTO(ig_path_join(&path, options->cache_dir, "tuned.json"));
  IG_GOTO(ig_tuner_create(path, &s->tuner));
  IG_GOTO(make_params(s));
  IG_GOTO(ig_session_push(s));
  *out = s;
done:
  ig_free(path);
  if (status != IG_OK)
    ig_session_destroy(s);
  return status;
}

void ig_session_destroy(ig_session *s) {
  if (!s)
    return;
  for (int kind = 0; s->device && kind < IG_N_PARAM_KINDS; kind++)
    ig_mirror_destroy(s->device, &s->memory[kind]);
  for (int i = 0; s->device && i < 2; i++)
    ig_mirror_destroy(s->device, &s->ema_memory[i]);
  ig_plan_destroy(s->copies_plan);
  ig_graph_destroy(s->copies_graph);
  if (s->device)
    ig_mirror_destroy(s->device, &s->copies);
  if (s->arena)
    s->device->ops->free(s->device, s->arena, s->arena_bytes);
  ig_params_fini(&s->params);
  ig_tuner_destroy(s->tuner);
  ig_device_destroy(s->device);
  ig_free(s);
}

ig_status ig_session_add_ema(ig_session *s) {
  const size_t weights = s->memory[IG_PARAM_TRAINABLE].bytes, state = s->memory[IG_PARAM_STATE].bytes;
  IG_TRY(ig_mirror_create(s->device, weights, true, "averaged weights", &s->ema_memory[0]));
  IG_TRY(ig_mirror_create(s->device, state, true, "averaged statistics", &s->ema_memory[1]));
  s->ema = s->ema_memory[0].host;
  s->ema_state = s->ema_memory[1].host;
  memcpy(s->ema, s->buffers[IG_PARAM_TRAINABLE], weights);
  memcpy(s->ema_state, s->buffers[IG_PARAM_STATE], state);
  return ig_session_push(s);
}

// A CPU reads weights in fp32 or in layouts of its own (docs/decisions.md, 55).
bool ig_session_wants_copies(const ig_session *s) {
  return s->device->caps.kind == IG_DEVICE_CUDA && ig_dtype_bytes(s->compute) == 2;
}

size_t ig_session_copies_bytes(const ig_session *s) {
  const size_t count = (size_t)s->params.count[IG_PARAM_TRAINABLE];
  return ig_session_wants_copies(s) ? (count + 1) * ig_dtype_bytes(s->compute) : 0;
}

// One cast of the whole buffer, by the kernel that made a copy a tensor before.
static ig_status plan_copies(ig_session *s) {
  IG_TRY(ig_graph_create(&(ig_graph_options){.size = sizeof(ig_graph_options),
                                             .ops = ig_op_lists,
                                             .params = &s->params,
                                             .mode = IG_MODE_TRAIN,
                                             .compute_dtype = s->compute},
                         &s->copies_graph));
  ig_tensor *copies =
      ig_reorder(s->copies_graph, "copies", ig_graph_flat(s->copies_graph, IG_SPACE_TRAINABLE), s->compute);
  if (copies)
    copies->space = IG_SPACE_TRAINABLE16;
  IG_TRY(ig_plan_create(s->copies_graph,
                        &(ig_plan_options){.size = sizeof(ig_plan_options), .device = s->device, .tuner = s->tuner},
                        &s->copies_plan));
  IG_TRY(ig_plan_bind(s->copies_plan, IG_SPACE_TRAINABLE, s->memory[IG_PARAM_TRAINABLE].device));
  return ig_plan_bind(s->copies_plan, IG_SPACE_TRAINABLE16, s->copies.device);
}

ig_status ig_session_add_copies(ig_session *s) {
  IG_TRY(ig_mirror_create(s->device, ig_session_copies_bytes(s), false, "16-bit copies of weights", &s->copies));
  IG_TRY(plan_copies(s));
  return ig_plan_run(s->copies_plan, NULL);
}

static ig_status move_all(ig_session *s, ig_status (*move)(ig_device *, const ig_mirror *)) {
  for (int kind = 0; kind < IG_N_PARAM_KINDS; kind++)
    IG_TRY(move(s->device, &s->memory[kind]));
  for (int i = 0; i < 2; i++)
    IG_TRY(move(s->device, &s->ema_memory[i]));
  return IG_OK;
}

ig_status ig_session_push(ig_session *s) {
  IG_TRY(move_all(s, ig_mirror_push));
  return s->copies_plan ? ig_plan_run(s->copies_plan, NULL) : IG_OK;
}
ig_status ig_session_pull(ig_session *s) { return move_all(s, ig_mirror_pull); }

ig_status ig_session_load(ig_session *s, const char *path, const ig_model *model, const ig_weights_options *options,
                          ig_weights_report *report) {
  IG_TRY(ig_weights_load(path, model, &s->params, s->buffers, options, report));
  return ig_session_push(s);
}

ig_status ig_session_reserve(ig_session *s, size_t bytes) {
  if (bytes <= s->arena_bytes)
    return IG_OK;
  void *arena;
  IG_TRY(s->device->ops->alloc(s->device, bytes, "activations and workspaces", &arena));
  if (s->arena)
    s->device->ops->free(s->device, s->arena, s->arena_bytes);
  s->arena = arena;
  s->arena_bytes = bytes;
  return IG_OK;
}
