// What the oneDNN implementations of the three convolution rows share. Not for other folders.
#ifndef IG_KERNELS_CONV2D_DNNL_H
#define IG_KERNELS_CONV2D_DNNL_H

#include "kernels/conv2d/conv2d.h"
#include "kernels/dnnl_common/dnnl_common.h"

#ifdef __cplusplus
extern "C" {
#endif

// One convolution as oneDNN is asked for it. Tags: dnnl_format_tag_any lets oneDNN choose.
typedef struct ig_conv2d_request {
  ig_conv2d_dims d;
  ig_dnnl_pass pass;
  dnnl_alg_kind_t algorithm;
  ig_dtype type;  // of activations and weights; weight and bias gradients are f32
  bool has_bias;
  bool add, relu;  // of conv2d_fused: the residual lies in y
  dnnl_format_tag_t x_tag, y_tag;
  ig_dnnl_cmd w;  // descriptor of the weights (or their gradient), NULL: oneDNN chooses
} ig_conv2d_request;

// Dimensions in oneDNN's order; of the weights the count is returned (5 with groups).
void ig_conv2d_x_dims(const ig_conv2d_dims *d, int64_t x[4]);
void ig_conv2d_y_dims(const ig_conv2d_dims *d, int64_t y[4]);
int ig_conv2d_w_dims(const ig_conv2d_dims *d, int64_t w[5]);

ig_conv2d_request ig_conv2d_request_of(const ig_node *n, ig_dnnl_pass pass, dnnl_alg_kind_t algorithm);
// IG_ERR_UNSUPPORTED where oneDNN has no such convolution. Destroy *out with dnnl_primitive_desc_destroy.
ig_status ig_conv2d_pd(dnnl_engine_t engine, const ig_conv2d_request *r, dnnl_primitive_desc_t *out);
// Lets oneDNN choose the layouts of x and y and fixes them in the request: its choice where the graph knows it (PLAIN,
// BLOCKED_C), else blocks as wide as the vectors.
ig_status ig_conv2d_choose_layouts(const ig_prepare *p, dnnl_engine_t engine, ig_conv2d_request *r, ig_layout *x,
                                   ig_layout *y);

bool ig_conv2d_dnnl_supports(const ig_node *n, const ig_device_caps *caps, char *why, size_t why_bytes);
// Winograd: 3x3, stride 1, dense, one group, f32, AVX-512, and a oneDNN that still has it.
bool ig_conv2d_wino_supports(const ig_node *n, const ig_device_caps *caps, ig_dnnl_pass pass, char *why,
                             size_t why_bytes);

#ifdef __cplusplus
}
#endif
#endif
