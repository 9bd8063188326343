// oneDNN's engine, descriptors and primitives behind one face for 2.6 and 3.x. Rule: version tests stand here alone
// (and IG_DNNL_HAS_WINOGRAD in the convolution).
#include "kernels/dnnl_common/dnnl_common.h"

#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static const char *status_text(dnnl_status_t s) {
  switch (s) {
    case dnnl_success:
      return "success";
    case dnnl_out_of_memory:
      return "out of memory";
    case dnnl_invalid_arguments:
      return "invalid arguments";
    case dnnl_unimplemented:
      return "no such primitive in this version";
    case dnnl_runtime_error:
      return "run-time error";
    default:
      return "unexpected status";
  }
}

ig_status ig_dnnl_fail(dnnl_status_t status, const char *call) {
  ig_status code = status == dnnl_out_of_memory   ? IG_ERR_MEMORY
                   : status == dnnl_unimplemented ? IG_ERR_UNSUPPORTED
                                                  : IG_ERR_DEVICE;
  const dnnl_version_t *v = dnnl_version();
  return ig_fail(code, "oneDNN %d.%d.%d: %.*s: %s (%d)", v->major, v->minor, v->patch, (int)strcspn(call, "("), call,
                 status_text(status), (int)status);
}

// ---- engine ----
// oneDNN's primitive cache outlives engines, so one engine stays for the process; it carries no settings.
static pthread_mutex_t engine_lock = PTHREAD_MUTEX_INITIALIZER;
static dnnl_engine_t process_engine;

static void cap_isa(ig_isa isa) {
#if defined(__x86_64__)
  static const dnnl_cpu_isa_t caps[IG_N_ISAS] = {dnnl_cpu_isa_sse41, dnnl_cpu_isa_avx2, dnnl_cpu_isa_avx512_core,
                                                 dnnl_cpu_isa_avx512_core_bf16, dnnl_cpu_isa_avx512_core_amx};
  // Refused where oneDNN was already in use: then its own choice stands.
  if (isa < ig_isa_detect())
    (void)dnnl_set_max_cpu_isa(caps[isa]);
#endif
}

ig_status ig_dnnl_engine(const ig_device_caps *caps, dnnl_engine_t *out) {
  dnnl_status_t s = dnnl_success;
  pthread_mutex_lock(&engine_lock);
  if (!process_engine) {
    cap_isa(caps->isa);
    s = dnnl_engine_create(&process_engine, dnnl_cpu, 0);
  }
  *out = process_engine;
  pthread_mutex_unlock(&engine_lock);
  return s == dnnl_success ? IG_OK : ig_dnnl_fail(s, "dnnl_engine_create");
}

int ig_dnnl_enter(int threads) {
  int saved = omp_get_max_threads();
  if (threads != saved)
    omp_set_num_threads(threads);
  return saved;
}

void ig_dnnl_leave(int saved) {
  if (saved != omp_get_max_threads())
    omp_set_num_threads(saved);
}

// ---- memory descriptors ----
bool ig_dnnl_type(ig_dtype type, dnnl_data_type_t *out) {
  *out = type == IG_F32 ? dnnl_f32 : type == IG_BF16 ? dnnl_bf16 : type == IG_F16 ? dnnl_f16 : dnnl_data_type_undef;
  return *out != dnnl_data_type_undef;
}

static ig_status type_of(ig_dtype type, dnnl_data_type_t *out) {
  if (!ig_dnnl_type(type, out))
    return ig_fail(IG_ERR_UNSUPPORTED, "oneDNN has no arithmetic in %s", ig_dtype_name(type));
  return IG_OK;
}

#if IG_DNNL_AT_LEAST(3, 0)
void ig_dnnl_md_fini(ig_dnnl_md *md) {
  if (md->m)
    dnnl_memory_desc_destroy(md->m);
  md->m = NULL;
}
#else
void ig_dnnl_md_fini(ig_dnnl_md *md) { memset(md, 0, sizeof *md); }
#endif

ig_status ig_dnnl_md_tag(int n, const int64_t *dims, ig_dtype type, dnnl_format_tag_t tag, ig_dnnl_md *out) {
  dnnl_data_type_t t;
  memset(out, 0, sizeof *out);
  IG_TRY(type_of(type, &t));
#if IG_DNNL_AT_LEAST(3, 0)
  IG_DNNL_TRY(dnnl_memory_desc_create_with_tag(&out->m, n, dims, t, tag));
#else
  IG_DNNL_TRY(dnnl_memory_desc_init_by_tag(&out->m, n, dims, t, tag));
#endif
  return IG_OK;
}

ig_status ig_dnnl_md_strides(int n, const int64_t *dims, ig_dtype type, const int64_t *strides, ig_dnnl_md *out) {
  dnnl_data_type_t t;
  memset(out, 0, sizeof *out);
  IG_TRY(type_of(type, &t));
#if IG_DNNL_AT_LEAST(3, 0)
  IG_DNNL_TRY(dnnl_memory_desc_create_with_strides(&out->m, n, dims, t, strides));
#else
  IG_DNNL_TRY(dnnl_memory_desc_init_by_strides(&out->m, n, dims, t, strides));
#endif
  return IG_OK;
}

// ---- layouts ----
// An opaque layout's blob: this, then the descriptor (a struct in 2.6, oneDNN's own serialisation in 3.x).
typedef struct blob_head {
  int32_t role, n;
  int64_t dims[DNNL_MAX_NDIMS];
} blob_head;
enum { MAX_BLOB_BYTES = 4096 };

dnnl_format_tag_t ig_dnnl_image_tag(ig_layout layout) {
  if (layout.kind == IG_LAYOUT_PLAIN)
    return dnnl_nhwc;
  if (layout.kind != IG_LAYOUT_BLOCKED_C)
    return dnnl_format_tag_undef;
  switch (layout.block) {
    case 1:
      return dnnl_nchw;
    case 4:
      return dnnl_nChw4c;
    case 8:
      return dnnl_nChw8c;
    case 16:
      return dnnl_nChw16c;
    case 32:
      return dnnl_nChw32c;
    default:
      return dnnl_format_tag_undef;
  }
}

static ig_status row_major(int n, const int64_t *dims, ig_dtype type, ig_dnnl_md *out) {
  int64_t strides[DNNL_MAX_NDIMS], step = 1;
  for (int i = n; i-- > 0; step *= dims[i])
    strides[i] = step;
  return ig_dnnl_md_strides(n, dims, type, strides, out);
}

static ig_status md_of_blob(const ig_layouts *layouts, ig_layout layout, ig_dnnl_md *out) {
  size_t bytes;
  const char *blob = ig_layouts_blob(layouts, layout, &bytes);
  memset(out, 0, sizeof *out);
  if (!blob || bytes <= sizeof(blob_head))
    return ig_fail(IG_ERR_INTERNAL, "layout %u is not one of oneDNN's", layout.id);
#if IG_DNNL_AT_LEAST(3, 3)
  IG_DNNL_TRY(dnnl_memory_desc_create_with_blob(&out->m, (const uint8_t *)blob + sizeof(blob_head)));
#elif IG_DNNL_AT_LEAST(3, 0)
  return ig_fail(IG_ERR_UNSUPPORTED, "oneDNN 3.0 to 3.2 cannot store its layouts; install 3.3 or later, or 2.6");
#else
  memcpy(&out->m, blob + sizeof(blob_head), sizeof out->m);
#endif
  return IG_OK;
}

ig_status ig_dnnl_opaque_dims(const ig_layouts *layouts, ig_layout layout, ig_dnnl_role *role, int *n,
                              int64_t dims[DNNL_MAX_NDIMS]) {
  size_t bytes;
  const blob_head *head = ig_layouts_blob(layouts, layout, &bytes);
  if (!head || bytes <= sizeof *head)
    return ig_fail(IG_ERR_INTERNAL, "layout %u is not one of oneDNN's", layout.id);
  *role = (ig_dnnl_role)head->role;
  *n = head->n;
  memcpy(dims, head->dims, sizeof head->dims);
  return IG_OK;
}

ig_status ig_dnnl_md_of(const ig_layouts *layouts, ig_layout layout, ig_dnnl_role role, int n, const int64_t *dims,
                        ig_dtype type, ig_dnnl_md *out) {
  memset(out, 0, sizeof *out);
  if (layout.kind == IG_LAYOUT_OPAQUE)
    return md_of_blob(layouts, layout, out);
  if (role == IG_DNNL_WEIGHTS && layout.kind == IG_LAYOUT_PLAIN)
    return row_major(n, dims, type, out);
  dnnl_format_tag_t tag = role == IG_DNNL_IMAGE && n == 4 ? ig_dnnl_image_tag(layout) : dnnl_format_tag_undef;
  if (tag == dnnl_format_tag_undef)
    return ig_fail(IG_ERR_INTERNAL, "oneDNN has no form of layout kind %d, block %d", layout.kind, layout.block);
  return ig_dnnl_md_tag(n, dims, type, tag, out);
}

static ig_status intern(ig_layouts *layouts, ig_dnnl_cmd md, ig_dnnl_role role, int n, const int64_t *dims,
                        ig_layout *out) {
  union {
    blob_head head;
    uint8_t bytes[MAX_BLOB_BYTES];
  } blob;
  memset(&blob, 0, sizeof blob);
  blob.head.role = (int32_t)role;
  blob.head.n = n;
  memcpy(blob.head.dims, dims, (size_t)n * sizeof *dims);
#if IG_DNNL_AT_LEAST(3, 3)
  size_t bytes = 0;
  IG_DNNL_TRY(dnnl_memory_desc_get_blob(NULL, &bytes, md));
  if (sizeof blob.head + bytes > sizeof blob)
    return ig_fail(IG_ERR_INTERNAL, "oneDNN's description of a layout takes %zu bytes", bytes);
  IG_DNNL_TRY(dnnl_memory_desc_get_blob(blob.bytes + sizeof blob.head, &bytes, md));
#elif IG_DNNL_AT_LEAST(3, 0)
  size_t bytes = 0;
  return ig_fail(IG_ERR_UNSUPPORTED, "oneDNN 3.0 to 3.2 cannot store its layouts; install 3.3 or later, or 2.6");
#else
  size_t bytes = sizeof *md;
  memcpy(blob.bytes + sizeof blob.head, md, bytes);
#endif
  return ig_layouts_intern(layouts, &blob, sizeof blob.head + bytes, dnnl_memory_desc_get_size(md), "onednn", out);
}

ig_status ig_dnnl_layout_of(ig_layouts *layouts, ig_dnnl_cmd md, ig_dnnl_role role, int n, const int64_t *dims,
                            ig_dtype type, ig_layout *out) {
  static const uint8_t blocks[] = {0, 8, 16, 1, 4, 32};  // 0: PLAIN
  for (size_t i = 0; i < (role == IG_DNNL_IMAGE ? sizeof blocks : 1); i++) {
    ig_layout layout = blocks[i] ? IG_BLOCKED_C(blocks[i]) : IG_PLAIN;
    ig_dnnl_md known;
    IG_TRY(ig_dnnl_md_of(layouts, layout, role, n, dims, type, &known));
    bool equal = dnnl_memory_desc_equal(md, IG_DNNL_MD(&known));
    ig_dnnl_md_fini(&known);
    if (equal) {
      *out = layout;
      return IG_OK;
    }
  }
  return intern(layouts, md, role, n, dims, out);
}

// ---- primitives ----
// Attributes with scratch memory given by the caller.
static dnnl_status_t user_scratch(dnnl_primitive_attr_t *out) {
  dnnl_status_t s = dnnl_primitive_attr_create(out);
  return s == dnnl_success ? dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user) : s;
}

// y = relu?(x + y) behind what the primitive computes.
static dnnl_status_t append_end(dnnl_primitive_attr_t attr, bool add, bool relu) {
  dnnl_post_ops_t ops;
  dnnl_status_t s = dnnl_post_ops_create(&ops);
  if (s != dnnl_success)
    return s;
#if IG_DNNL_AT_LEAST(3, 0)
  if (add)
    s = dnnl_post_ops_append_sum(ops, 1, 0, dnnl_data_type_undef);
  if (relu && s == dnnl_success)
    s = dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_relu, 0, 0);
#else
  if (add)
    s = dnnl_post_ops_append_sum(ops, 1);
  if (relu && s == dnnl_success)
    s = dnnl_post_ops_append_eltwise(ops, 1, dnnl_eltwise_relu, 0, 0);
#endif
  if (s == dnnl_success)
    s = dnnl_primitive_attr_set_post_ops(attr, ops);
  dnnl_post_ops_destroy(ops);
  return s;
}

static dnnl_status_t conv_pd(dnnl_engine_t e, const ig_dnnl_conv *c, dnnl_primitive_attr_t attr,
                             dnnl_primitive_desc_t *out) {
#if IG_DNNL_AT_LEAST(3, 0)
  switch (c->pass) {
    case IG_DNNL_FORWARD:
      return dnnl_convolution_forward_primitive_desc_create(out, e, dnnl_forward_training, c->algorithm, c->x, c->w,
                                                            c->b, c->y, c->stride, c->dilation, c->pad_before,
                                                            c->pad_after, attr);
    case IG_DNNL_BACKWARD_DATA:
      return dnnl_convolution_backward_data_primitive_desc_create(
          out, e, c->algorithm, c->x, c->w, c->y, c->stride, c->dilation, c->pad_before, c->pad_after, c->hint, attr);
    default:
      return dnnl_convolution_backward_weights_primitive_desc_create(out, e, c->algorithm, c->x, c->w, c->b, c->y,
                                                                     c->stride, c->dilation, c->pad_before,
                                                                     c->pad_after, c->hint, attr);
  }
#else
  dnnl_convolution_desc_t d;
  dnnl_status_t s;
  if (c->pass == IG_DNNL_FORWARD)
    s = dnnl_dilated_convolution_forward_desc_init(&d, dnnl_forward_training, c->algorithm, c->x, c->w, c->b, c->y,
                                                   c->stride, c->dilation, c->pad_before, c->pad_after);
  else if (c->pass == IG_DNNL_BACKWARD_DATA)
    s = dnnl_dilated_convolution_backward_data_desc_init(&d, c->algorithm, c->x, c->w, c->y, c->stride, c->dilation,
                                                         c->pad_before, c->pad_after);
  else
    s = dnnl_dilated_convolution_backward_weights_desc_init(&d, c->algorithm, c->x, c->w, c->b, c->y, c->stride,
                                                            c->dilation, c->pad_before, c->pad_after);
  return s == dnnl_success ? dnnl_primitive_desc_create(out, &d, attr, e, c->hint) : s;
#endif
}

dnnl_status_t ig_dnnl_conv_pd(dnnl_engine_t engine, const ig_dnnl_conv *c, dnnl_primitive_desc_t *out) {
  dnnl_primitive_attr_t attr = NULL;
  *out = NULL;
  dnnl_status_t s = user_scratch(&attr);
  if (s == dnnl_success && (c->add || c->relu))
    s = append_end(attr, c->add, c->relu);
  if (s == dnnl_success)
    s = conv_pd(engine, c, attr, out);
  dnnl_primitive_attr_destroy(attr);
  return s;
}

dnnl_status_t ig_dnnl_matmul_pd(dnnl_engine_t engine, ig_dnnl_cmd a, ig_dnnl_cmd b, ig_dnnl_cmd bias, ig_dnnl_cmd y,
                                bool add, dnnl_primitive_desc_t *out) {
  dnnl_primitive_attr_t attr = NULL;
  *out = NULL;
  dnnl_status_t s = user_scratch(&attr);
  if (s == dnnl_success && add)
    s = append_end(attr, true, false);
#if IG_DNNL_AT_LEAST(3, 0)
  if (s == dnnl_success)
    s = dnnl_matmul_primitive_desc_create(out, engine, a, b, bias, y, attr);
#else
  dnnl_matmul_desc_t d;
  if (s == dnnl_success)
    s = dnnl_matmul_desc_init(&d, a, b, bias, y);
  if (s == dnnl_success)
    s = dnnl_primitive_desc_create(out, &d, attr, engine, NULL);
#endif
  dnnl_primitive_attr_destroy(attr);
  return s;
}

dnnl_status_t ig_dnnl_reorder_pd(dnnl_engine_t engine, ig_dnnl_cmd from, ig_dnnl_cmd to, dnnl_primitive_desc_t *out) {
  dnnl_primitive_attr_t attr = NULL;
  *out = NULL;
  dnnl_status_t s = user_scratch(&attr);
  if (s == dnnl_success)
    s = dnnl_reorder_primitive_desc_create(out, from, engine, to, engine, attr);
  dnnl_primitive_attr_destroy(attr);
  return s;
}

ig_status ig_dnnl_primitive_init(dnnl_primitive_desc_t pd, ig_dnnl_primitive *out) {
  memset(out, 0, sizeof *out);
  ig_dnnl_cmd scratch = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
  out->scratch_bytes = scratch ? dnnl_memory_desc_get_size(scratch) : 0;
  IG_DNNL_TRY(dnnl_primitive_create(&out->primitive, pd));
  return IG_OK;
}

void ig_dnnl_primitive_fini(ig_dnnl_primitive *p) {
  if (p->primitive)
    dnnl_primitive_destroy(p->primitive);
  memset(p, 0, sizeof *p);
}

ig_status ig_dnnl_args_init(dnnl_engine_t engine, dnnl_primitive_desc_t pd, int n, const int *ids, ig_dnnl_args *out) {
  ig_status status = IG_OK;
  memset(out, 0, sizeof *out);
  IG_DNNL_GOTO(dnnl_stream_create(&out->stream, engine, dnnl_stream_default_flags));
  for (int i = 0; i <= n; i++) {
    int id = i < n ? ids[i] : DNNL_ARG_SCRATCHPAD;
    ig_dnnl_cmd md = i < n ? dnnl_primitive_desc_query_md(pd, dnnl_query_exec_arg_md, id)
                           : dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    if (!md)
      IG_GOTO(ig_fail(IG_ERR_INTERNAL, "oneDNN knows no operand %d of its primitive", id));
    out->args[i].arg = id;
    IG_DNNL_GOTO(dnnl_memory_create(&out->args[i].memory, md, engine, DNNL_MEMORY_NONE));
  }
  out->n = n;
  return IG_OK;
done:
  ig_dnnl_args_fini(out);
  return status;
}

void ig_dnnl_args_fini(ig_dnnl_args *a) {
  for (int i = 0; i < IG_DNNL_MAX_ARGS; i++)
    if (a->args[i].memory)
      dnnl_memory_destroy(a->args[i].memory);
  if (a->stream)
    dnnl_stream_destroy(a->stream);
  memset(a, 0, sizeof *a);
}

ig_status ig_dnnl_run(const ig_dnnl_primitive *p, ig_dnnl_args *a, void *const *data, void *scratch) {
  for (int i = 0; i < a->n; i++)
    IG_DNNL_TRY(dnnl_memory_set_data_handle(a->args[i].memory, data[i]));
  IG_DNNL_TRY(dnnl_memory_set_data_handle(a->args[a->n].memory, scratch));
  IG_DNNL_TRY(dnnl_primitive_execute(p->primitive, a->stream, a->n + 1, a->args));
  IG_DNNL_TRY(dnnl_stream_wait(a->stream));
  return IG_OK;
}

ig_status ig_dnnl_task_init(const ig_device_caps *caps, dnnl_primitive_desc_t pd, int n, const int *ids,
                            ig_dnnl_task *out) {
  dnnl_engine_t engine;
  memset(out, 0, sizeof *out);
  IG_TRY(ig_dnnl_engine(caps, &engine));
  out->threads = caps->threads;
  ig_status status = ig_dnnl_primitive_init(pd, &out->primitive);
  if (status == IG_OK)
    status = ig_dnnl_args_init(engine, pd, n, ids, &out->args);
  if (status != IG_OK)
    ig_dnnl_task_fini(out);
  return status;
}

void ig_dnnl_task_fini(ig_dnnl_task *t) {
  ig_dnnl_args_fini(&t->args);
  ig_dnnl_primitive_fini(&t->primitive);
}

ig_status ig_dnnl_task_run(ig_dnnl_task *t, void *const *data, void *scratch) {
  int saved = ig_dnnl_enter(t->threads);
  ig_status status = ig_dnnl_run(&t->primitive, &t->args, data, scratch);
  ig_dnnl_leave(saved);
  return status;
}

bool ig_dnnl_takes(const ig_tensor *t, const ig_device_caps *caps, char *why, size_t why_bytes) {
  if (t->dtype == IG_F32 || (t->dtype == IG_BF16 && caps->bf16))
    return true;
  if (t->dtype == IG_BF16)
    snprintf(why, why_bytes, "bf16 needs AVX-512 BF16; this processor is used up to %s", ig_isa_name(caps->isa));
  else
    snprintf(why, why_bytes, "no arithmetic in %s", ig_dtype_name(t->dtype));
  return false;
}
