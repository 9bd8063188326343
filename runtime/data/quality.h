// Quality of a picture data set: what cannot be read, what stands there twice, what leaks between the parts, what looks
// odd. Rule: pictures are only read; what is found is a pure function of files, parts and options, whatever the
// threads.
#ifndef IG_DATA_QUALITY_H
#define IG_DATA_QUALITY_H

#include "runtime/data/dataset.h"
#include "runtime/data/image.h"

#ifdef __cplusplus
extern "C" {
#endif

// Two pictures are nearly the same when, as they are or after one of the 7 mirrorings and quarter turns, all of this
// holds. The figures were chosen by looking at pairs of CIFAR-10, NEU and DeepPCB (docs/data-quality.md).
// 1. Their perceptual hashes differ in at most HASH_BITS of 64 bits: the 8 x 8 lowest cosine coefficients of the grey
//    picture at 32 x 32, a bit for each above their median.
// 2. Their grey pictures at 16 x 16 correlate by at least THUMB.
// 3. At 64 x 64 in grey, both brought to mean 0 and deviation 1, they differ by at most DIFFERENCE (root mean square)
//    in all and by at most LOCAL in the worst of 8 x 8 fields. LOCAL tells a copy (compressed again, scaled, other
//    brightness) from another picture of the same part, which differs at one place: the defect.
// A picture whose deviation is below PLAIN (of 0..255) has nothing to compare.
#define IG_QUALITY_HASH_BITS  11
#define IG_QUALITY_THUMB      0.9f
#define IG_QUALITY_DIFFERENCE 0.25f
#define IG_QUALITY_LOCAL      0.6f
#define IG_QUALITY_PLAIN      2.0
enum { IG_QUALITY_TURNS = 8 };
// How a picture is turned: "as it is", "mirrored left-right", "turned by 180 degrees", ...
const char *ig_quality_turn_name(int turn);

typedef struct ig_quality_options {
  size_t size;                                     // sizeof(ig_quality_options)
  const ig_dataset *data;                          // best opened with inspect
  int threads;                                     // >= 1
  void (*progress)(void *user, const char *text);  // both on the calling thread
  int (*should_stop)(void *user);                  // 1: end with IG_ERR_PARTIAL
  void *user;
} ig_quality_options;

typedef enum ig_severity { IG_SEVERITY_SERIOUS, IG_SEVERITY_CARE, IG_SEVERITY_NOTE, IG_N_SEVERITIES } ig_severity;
const char *ig_severity_name(ig_severity severity);  // "serious", "care", "note"

typedef struct ig_quality_finding {
  ig_severity severity;
  const char *code;  // a constant for programs: "unreadable", "leak", ...
  size_t count;      // pictures, groups or classes, as the text says
  char *text;        // for people: what was found, and what to do
} ig_quality_finding;

typedef struct ig_quality_picture {
  char *reason;          // why it cannot be read; NULL: it was, and the rest holds
  ig_image_info info;    // as stored; format IG_IMAGE_N_FORMATS: a CIFAR record
  float mean, contrast;  // over all pixels, 0..255; contrast: deviation within a channel
  float dark, light;     // share of samples <= 2, >= 253
} ig_quality_picture;

// "class" or "classes" by their number; "labels" where a picture has several, "numbers" where these are learned.
const char *ig_quality_classes_noun(const ig_dataset *d);

typedef enum ig_likeness { IG_SAME_BYTES, IG_SAME_PIXELS, IG_NEARLY_SAME } ig_likeness;
const char *ig_likeness_name(ig_likeness likeness);  // "same file", "same pixels", "nearly the same"

typedef struct ig_quality_member {
  size_t sample;
  size_t like;       // the picture of the group that it is most like
  int turn;          // that one turned so is this one
  float difference;  // as above, over the whole picture; 0: same pixels
} ig_quality_member;

// Pictures that are the same. The first stands for the others.
typedef struct ig_quality_group {
  ig_likeness kind;
  size_t first, n;  // members
  unsigned parts;   // bit 1 << ig_part
  bool labels_differ;
  float difference;  // the smallest
} ig_quality_group;

typedef enum ig_oddity { IG_ODD_CONSTANT, IG_ODD_BLACK, IG_ODD_WHITE, IG_ODD_CLIPPED, IG_N_ODDITIES } ig_oddity;
const char *ig_oddity_name(ig_oddity oddity);  // "constant", "nearly black", "nearly white", "clipped"
typedef struct ig_quality_odd {
  size_t sample;
  ig_oddity oddity;
} ig_quality_odd;

// A label that a trained model contradicts.
typedef struct ig_quality_suspect {
  size_t sample;
  int32_t said;
  float p_label, p_said;
  bool seen;  // stands in the training part: the model may have learnt its label by heart
} ig_quality_suspect;

// How many readable pictures share a property.
typedef enum ig_property {
  IG_PROPERTY_SIZE,
  IG_PROPERTY_CHANNELS,
  IG_PROPERTY_BITS,
  IG_PROPERTY_FORMAT,
  IG_N_PROPERTIES
} ig_property;
const char *ig_property_name(ig_property property);  // "size", "channels", "bits", "format"
typedef struct ig_quality_value {
  ig_property property;
  int a, b;  // width and height, or channels, bits, ig_image_format
  size_t n;
} ig_quality_value;
const char *ig_quality_value_text(char out[32], const ig_quality_value *v);

// A file that the opening scan left out, or a group that stands in several parts.
typedef struct ig_quality_skipped {
  char *name, *reason;
} ig_quality_skipped;
typedef struct ig_quality_torn {
  const char *group;
  size_t count[IG_N_PARTS];
} ig_quality_torn;

typedef struct ig_quality {
  const ig_dataset *data;        // borrowed
  ig_quality_picture *pictures;  // [data->n]
  size_t n_readable;
  ig_quality_finding *findings;  // the most severe first
  size_t n_findings, findings_capacity;
  size_t n_severity[IG_N_SEVERITIES];
  ig_quality_member *members;
  size_t n_members, members_capacity;
  ig_quality_group *groups;  // same pixels, then nearly the same; what spoils a result first, then the most alike
  size_t n_groups, groups_capacity;
  ig_quality_odd *odd;  // by oddity, then in order
  size_t n_odd, odd_capacity;
  ig_quality_value *values;  // by property, the most frequent first
  size_t n_values, values_capacity;
  ig_quality_skipped *skipped;
  size_t n_skipped, skipped_capacity;
  ig_quality_torn *torn;
  size_t n_torn, torn_capacity;
  ig_quality_suspect *suspects;  // the most certain contradiction first
  size_t n_suspects;
  bool asked_model;
  ig_status pending;  // of ig_quality_skip, which can return none; scan returns it
  double seconds;     // of the scan
} ig_quality;

// Start from {0}, then in this order: ig_quality_skip for each file that the opening scan left out (shape of
// ig_dataset_options.skipped; user is the ig_quality), scan, perhaps suspects, judge. fini in any case.
void ig_quality_skip(void *quality, const char *name, const char *reason);
// Reads every picture and fills everything but findings and suspects. Memory: about 600 bytes a picture, and one
// decoded picture a thread. IG_ERR_MEMORY, IG_ERR_PARTIAL (stopped); an unreadable picture is a result, not an error.
ig_status ig_quality_scan(const ig_quality_options *options, ig_quality *q);
// Confident disagreement (Northcutt et al.): the mean probability t[c] that samples labelled c get for c is what "the
// model is confident of c" means; a sample is suspicious where the likeliest confident class is not its label. Samples
// of the training part have thresholds of their own. logits [n][classes] of the samples `samples` [n]. *out: the most
// certain contradiction first; ig_free, whatever is returned.
ig_status ig_find_suspects(const ig_dataset *d, const float *logits, const uint64_t *samples, size_t n, int classes,
                           ig_quality_suspect **out, size_t *n_out);
// The same for the report.
ig_status ig_quality_suspects(ig_quality *q, const float *logits, const uint64_t *samples, size_t n, int classes);
// Writes the findings.
ig_status ig_quality_judge(ig_quality *q);
void ig_quality_fini(ig_quality *q);

#ifdef __cplusplus
}
#endif
#endif
