// TensorBoard event files. Rule: records are encoded in memory and appended whole; a resumed run starts a new file
// and never touches an old one.
#ifndef IG_TRAIN_EVENTS_H
#define IG_TRAIN_EVENTS_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78), and TensorFlow's mask of it: rotr(crc, 15) + 0xA282EAD8.
uint32_t ig_crc32c(const void *data, size_t n);
uint32_t ig_crc32c_masked(const void *data, size_t n);

// A record: u64 length, masked CRC of it, the protobuf Event, masked CRC of that; little-endian.
enum { IG_EVENT_MAX_TAG = 1023, IG_EVENT_MAX_BYTES = IG_EVENT_MAX_TAG + 80 };
typedef struct ig_event_record {
  size_t n;
  uint8_t bytes[IG_EVENT_MAX_BYTES];
} ig_event_record;

// The first record of a file: wall_time (seconds since 1970) and file_version "brain.Event:2".
void ig_event_encode_version(double wall_time, ig_event_record *out);
// One scalar: wall_time, step >= 0, summary { value { tag, simple_value } }. Tags longer than IG_EVENT_MAX_TAG bytes
// are cut there.
void ig_event_encode_scalar(double wall_time, int64_t step, const char *tag, float value, ig_event_record *out);

// A writer of one file `events.out.tfevents.<time>.<host>.<pid>.<n>` in `folder`, which must exist.
typedef struct ig_events ig_events;
// The file is created with its first record at once. wall_time <= 0 means now, here and below.
ig_status ig_events_open(const char *folder, double wall_time, ig_events **out);
// Buffers one scalar. Values that are not finite are written as they are: TensorBoard shows them.
ig_status ig_events_scalar(ig_events *e, double wall_time, int64_t step, const char *tag, double value);
// Appends what is buffered. After a failure the buffer is kept for the next flush.
ig_status ig_events_flush(ig_events *e);
const char *ig_events_path(const ig_events *e);
// Flushes and frees; NULL is fine. The file is valid up to the last flush whatever is returned.
ig_status ig_events_close(ig_events *e);

#ifdef __cplusplus
}
#endif
#endif
