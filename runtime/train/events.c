// TensorBoard event files: protobuf by hand (five fields), CRC-32C, and a buffered writer. Rule: see events.h.
#include "runtime/train/events.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"

// Four bits a step: 64 bytes of table, and events are few.
uint32_t ig_crc32c(const void *data, size_t n) {
  static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
                                     0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                     0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
  const uint8_t *p = data;
  uint32_t crc = 0xffffffffu;
  for (size_t i = 0; i < n; i++) {
    crc ^= p[i];
    crc = (crc >> 4) ^ table[crc & 15];
    crc = (crc >> 4) ^ table[crc & 15];
  }
  return ~crc;
}

uint32_t ig_crc32c_masked(const void *data, size_t n) {
  const uint32_t crc = ig_crc32c(data, n);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

// ---- encoding -----------------------------------------------------------------------------------------------------

static size_t put_little(uint8_t *p, uint64_t x, size_t n_bytes) {
  for (size_t i = 0; i < n_bytes; i++)
    p[i] = (uint8_t)(x >> (8 * i));
  return n_bytes;
}

static size_t put_varint(uint8_t *p, uint64_t x) {
  size_t n = 0;
  for (; x >= 0x80; x >>= 7)
    p[n++] = (uint8_t)(x | 0x80);
  p[n++] = (uint8_t)x;
  return n;
}

// Field numbers and wire types of tensorflow's event.proto and summary.proto, as one byte each.
enum {
  EVENT_WALL_TIME = 1 << 3 | 1,
  EVENT_STEP = 2 << 3 | 0,
  EVENT_FILE_VERSION = 3 << 3 | 2,
  EVENT_SUMMARY = 5 << 3 | 2,
  SUMMARY_VALUE = 1 << 3 | 2,
  VALUE_TAG = 1 << 3 | 2,
  VALUE_SIMPLE = 2 << 3 | 5
};

static size_t put_bytes(uint8_t *p, uint8_t field, const void *data, size_t n) {
  size_t at = 0;
  p[at++] = field;
  at += put_varint(p + at, n);
  memcpy(p + at, data, n);
  return at + n;
}

static size_t put_wall_time(uint8_t *p, double wall_time) {
  uint64_t bits;
  memcpy(&bits, &wall_time, 8);
  p[0] = EVENT_WALL_TIME;
  return 1 + put_little(p + 1, bits, 8);
}

// The message lies at bytes + 12 already.
static void seal(ig_event_record *r, size_t message_bytes) {
  put_little(r->bytes, message_bytes, 8);
  put_little(r->bytes + 8, ig_crc32c_masked(r->bytes, 8), 4);
  put_little(r->bytes + 12 + message_bytes, ig_crc32c_masked(r->bytes + 12, message_bytes), 4);
  r->n = message_bytes + 16;
}

void ig_event_encode_version(double wall_time, ig_event_record *out) {
  static const char version[] = "brain.Event:2";
  uint8_t *p = out->bytes + 12;
  size_t n = put_wall_time(p, wall_time);
  n += put_bytes(p + n, EVENT_FILE_VERSION, version, sizeof version - 1);
  seal(out, n);
}

void ig_event_encode_scalar(double wall_time, int64_t step, const char *tag, float value, ig_event_record *out) {
  uint8_t v[IG_EVENT_MAX_TAG + 16], summary[IG_EVENT_MAX_TAG + 24], *p = out->bytes + 12;
  uint32_t bits;
  memcpy(&bits, &value, 4);
  size_t v_bytes = put_bytes(v, VALUE_TAG, tag, strnlen(tag, IG_EVENT_MAX_TAG));
  v[v_bytes++] = VALUE_SIMPLE;  // written even where it is 0: it says which kind of value this is
  v_bytes += put_little(v + v_bytes, bits, 4);
  const size_t summary_bytes = put_bytes(summary, SUMMARY_VALUE, v, v_bytes);
  size_t n = put_wall_time(p, wall_time);
  if (step != 0) {  // proto3 leaves a default out
    p[n++] = EVENT_STEP;
    n += put_varint(p + n, (uint64_t)step);
  }
  n += put_bytes(p + n, EVENT_SUMMARY, summary, summary_bytes);
  seal(out, n);
}

// ---- the writer ---------------------------------------------------------------------------------------------------

struct ig_events {
  char *path;
  uint8_t *buffer;  // whole records that are not in the file yet
  size_t n, capacity;
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static ig_status buffer_record(ig_events *e, const ig_event_record *r) {
  IG_TRY(ig_grow(&e->buffer, &e->capacity, e->n, e->n + r->n, 1, "event records"));
  memcpy(e->buffer + e->n, r->bytes, r->n);
  e->n += r->n;
  return IG_OK;
}

// Host names are the user's; only what is safe in a file name is kept.
static void host_name(char *host, size_t size) {
  if (gethostname(host, size) != 0 || host[0] == 0)
    snprintf(host, size, "localhost");
  host[size - 1] = 0;
  for (char *c = host; *c; c++)
    if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '-' || *c == '_'))
      *c = '_';
}

static ig_status free_path(const char *folder, double wall_time, char **out) {
  char host[65];
  host_name(host, sizeof host);
  for (int i = 0;; i++) {
    char *path = NULL;
    IG_TRY(ig_asprintf(&path, "%s/events.out.tfevents.%010lld.%s.%ld.%d", folder, (long long)wall_time, host,
                       (long)getpid(), i));
    if (!ig_path_exists(path)) {
      *out = path;
      return IG_OK;
    }
    ig_free(path);
  }
}

ig_status ig_events_open(const char *folder, double wall_time, ig_events **out) {
  ig_status status = IG_OK;
  ig_events *e = NULL;
  ig_event_record first;
  const double wall = wall_time > 0 ? wall_time : now();
  *out = NULL;
  IG_GOTO(ig_alloc(sizeof *e, "event writer", &e));
  IG_GOTO(free_path(folder, wall, &e->path));
  ig_event_encode_version(wall, &first);
  IG_GOTO(buffer_record(e, &first));
  IG_GOTO(ig_events_flush(e));
  *out = e;
  return IG_OK;
done:
  if (e) {
    ig_free(e->path);
    ig_free(e->buffer);
    ig_free(e);
  }
  return status;
}

ig_status ig_events_scalar(ig_events *e, double wall_time, int64_t step, const char *tag, double value) {
  ig_event_record r;
  ig_event_encode_scalar(wall_time > 0 ? wall_time : now(), step, tag, (float)value, &r);
  return buffer_record(e, &r);
}

ig_status ig_events_flush(ig_events *e) {
  if (e->n == 0)
    return IG_OK;
  IG_TRY(ig_file_append(e->path, e->buffer, e->n));  // cuts a torn tail off again where it fails
  e->n = 0;
  return IG_OK;
}

const char *ig_events_path(const ig_events *e) { return e->path; }

ig_status ig_events_close(ig_events *e) {
  if (!e)
    return IG_OK;
  const ig_status status = ig_events_flush(e);
  ig_free(e->path);
  ig_free(e->buffer);
  ig_free(e);
  return status;
}
