// A filter in C: answers a text in capitals with its number in the connection, in batches as well.
#include "shout_in_batches.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef exports_tidegate_edge_filtering_admission_t admission_t;
typedef exports_tidegate_edge_filtering_handshake_t handshake_t;
typedef exports_tidegate_edge_filtering_interest_t interest_t;
typedef exports_tidegate_edge_filtering_message_t message_t;
typedef exports_tidegate_edge_filtering_own_session_t own_session_t;
typedef exports_tidegate_edge_filtering_refusal_t refusal_t;
typedef exports_tidegate_edge_filtering_session_t session_t;
typedef exports_tidegate_edge_filtering_side_t side_t;
typedef exports_tidegate_edge_filtering_verdict_t verdict_t;

struct exports_tidegate_edge_filtering_session_t {
    unsigned count;
};

static void *allocate(size_t size) {
    void *memory = malloc(size ? size : 1);
    if (!memory) abort();
    return memory;
}

// C has no exceptions: what went wrong is written to the log before it gives up.
static _Noreturn void fail(const char *words) {
    shout_in_batches_string_t text;
    shout_in_batches_string_set(&text, words);
    tidegate_edge_log_write(TIDEGATE_EDGE_LOG_LEVEL_ERROR, &text);
    abort();
}

static own_session_t session(unsigned count) {
    session_t *session = allocate(sizeof *session);
    session->count = count;
    return exports_tidegate_edge_filtering_session_new(session);
}

static void shout(session_t *session, const uint8_t *text, size_t length, verdict_t *verdict) {
    static const char failing[] = "fail";
    if (length == strlen(failing) && !memcmp(text, failing, length)) fail("out of luck");
    char number[16];
    size_t digits = (size_t)snprintf(number, sizeof number, "%u ", ++session->count);
    uint8_t *said = allocate(digits + length);
    memcpy(said, number, digits);
    for (size_t i = 0; i < length; i++) said[digits + i] = text[i] >= 'a' && text[i] <= 'z' ? text[i] - 'a' + 'A' : text[i];
    verdict->tag = EXPORTS_TIDEGATE_EDGE_FILTERING_VERDICT_REPLACE;
    verdict->val.replace.tag = TIDEGATE_EDGE_TYPES_CONTENT_TEXT;
    verdict->val.replace.val.text = (shout_in_batches_string_t){said, digits + length};
}

bool exports_tidegate_edge_filtering_configure(shout_in_batches_string_t *config, interest_t *interest,
                                               shout_in_batches_string_t *error) {
    (void)error;
    shout_in_batches_string_free(config);
    memset(interest, 0, sizeof *interest);
    interest->from_client.kinds = EXPORTS_TIDEGATE_EDGE_FILTERING_KINDS_TEXT;
    interest->from_client.need.tag = EXPORTS_TIDEGATE_EDGE_FILTERING_NEED_WHOLE;
    return true;
}

bool exports_tidegate_edge_filtering_static_session_open(handshake_t *handshake, admission_t *admission,
                                                         refusal_t *refusal) {
    (void)refusal;
    exports_tidegate_edge_filtering_handshake_free(handshake);
    memset(admission, 0, sizeof *admission);
    admission->session = session(0);
    return true;
}

void exports_tidegate_edge_filtering_method_session_on_message(session_t *session, side_t origin, message_t *message,
                                                               verdict_t *verdict) {
    (void)origin;
    shout(session, message->val.text.ptr, message->val.text.len, verdict);
    exports_tidegate_edge_filtering_message_free(message);
}

void exports_tidegate_edge_batching_on_messages(session_t *session, side_t origin,
                                                exports_tidegate_edge_batching_list_arrival_t *messages,
                                                shout_in_batches_list_u8_t *bytes,
                                                exports_tidegate_edge_batching_list_decision_t *decisions) {
    (void)origin;
    decisions->ptr = allocate(messages->len * sizeof *decisions->ptr);
    decisions->len = messages->len;
    const uint8_t *text = bytes->ptr;
    for (size_t i = 0; i < messages->len; text += messages->ptr[i++].length) {
        decisions->ptr[i].message = i;
        shout(session, text, messages->ptr[i].length, &decisions->ptr[i].verdict);
    }
    exports_tidegate_edge_batching_list_arrival_free(messages);
    shout_in_batches_list_u8_free(bytes);
}

void exports_tidegate_edge_swapping_save(session_t *session, shout_in_batches_list_u8_t *state) {
    char number[16];
    state->len = (size_t)snprintf(number, sizeof number, "%u", session->count);
    state->ptr = allocate(state->len);
    memcpy(state->ptr, number, state->len);
}

bool exports_tidegate_edge_swapping_resume(handshake_t *handshake, shout_in_batches_list_u8_t *state,
                                           own_session_t *resumed, shout_in_batches_string_t *error) {
    (void)error;
    unsigned count = 0;
    for (size_t i = 0; i < state->len; i++) count = count * 10 + state->ptr[i] - '0';
    *resumed = session(count);
    exports_tidegate_edge_filtering_handshake_free(handshake);
    shout_in_batches_list_u8_free(state);
    return true;
}

void exports_tidegate_edge_filtering_session_destructor(session_t *session) {
    free(session);
}
