/* Many messages of any lengths through one kernel, so that its lanes stay busy.
 *
 * Each lane holds one message; all live lanes go forward by as many blocks as the one that is nearest to a seam of
 * its message, and a lane that is done takes the next message. So messages need no sorting: lanes run empty only
 * behind the last one.
 */
#ifndef PYRSIA_SHA256_LANES_H
#define PYRSIA_SHA256_LANES_H

#include "sha256_portable.h"

/* A message up to here is copied and padded in one piece, which costs far less than hashing it. A longer one is
 * read in place between its first block, which the prefix moves, and its last. */
#define SHA256_COPIED_BLOCKS 16

typedef struct {
    const uint8_t *data;
    size_t blocks;
} sha256_piece;

typedef struct {
    sha256_piece pieces[3];
    int at; /* the piece that is being hashed */
    int end;
    size_t message; /* whose it is */
    uint8_t room[SHA256_COPIED_BLOCKS * SHA256_BLOCK_BYTES];
} sha256_lane;

static inline void sha256_lane_add(sha256_lane *lane, const uint8_t *data, size_t blocks) {
    if (blocks) {
        lane->pieces[lane->end].data = data;
        lane->pieces[lane->end].blocks = blocks;
        lane->end++;
    }
}

/* Put (prefix ||) data into the lane; `prefix` is NULL for none. */
static inline void sha256_lane_take(sha256_lane *lane, const uint8_t *prefix, const uint8_t *data, size_t size) {
    size_t front = prefix ? 1 : 0, body, tail;
    uint64_t bytes = (uint64_t)size + front;
    uint8_t *room = lane->room;

    lane->at = lane->end = 0;
    if (front) {
        room[0] = *prefix;
    }
    if (bytes <= sizeof lane->room - 9) {
        body = (size_t)bytes / SHA256_BLOCK_BYTES * SHA256_BLOCK_BYTES; /* in front of the last, padded part */
        if (body) {
            memcpy(room + front, data, body - front);
            tail = sha256_pad(room + body, data + (body - front), (size_t)bytes - body, bytes);
        } else {
            /* One part only; the pad begins behind what is there already. */
            if (size) {
                memcpy(room + front, data, size);
            }
            tail = sha256_pad(room, room, (size_t)bytes, bytes);
        }
        sha256_lane_add(lane, room, body / SHA256_BLOCK_BYTES + tail);
        return;
    }
    if (front) {
        memcpy(room + 1, data, SHA256_BLOCK_BYTES - 1);
        sha256_lane_add(lane, room, 1);
        room += SHA256_BLOCK_BYTES;
        data += SHA256_BLOCK_BYTES - 1;
        size -= SHA256_BLOCK_BYTES - 1;
    }
    sha256_lane_add(lane, data, size / SHA256_BLOCK_BYTES);
    body = size / SHA256_BLOCK_BYTES * SHA256_BLOCK_BYTES;
    sha256_lane_add(lane, room, sha256_pad(room, data + body, size - body, bytes));
}

/* out[32 * i] = SHA-256((prefix ||) data[i][0:sizes[i]]) for i < n. A hash is written when its message has been
 * read to its end; `out` may lie in a message only where n is 1. */
static inline void sha256_through(const sha256_kernel *kernel, const uint8_t *prefix, const uint8_t *const *data,
                                  const size_t *sizes, uint8_t *out, size_t n) {
    sha256_lane lanes[SHA256_MOST_LANES];
    sha256_lane *order[SHA256_MOST_LANES], *swapped; /* the first `live` of these are at work */
    uint32_t states[SHA256_MOST_LANES][8];
    const uint8_t *heads[SHA256_MOST_LANES];
    size_t live = 0, next = 0, count, l;

    for (; live < kernel->lanes && next < n; live++, next++) {
        order[live] = &lanes[live];
        order[live]->message = next;
        sha256_lane_take(order[live], prefix, data[next], sizes[next]);
        memcpy(states[live], SHA256_START, sizeof states[live]);
    }
    while (live) {
        count = SIZE_MAX;
        for (l = 0; l < live; l++) {
            heads[l] = order[l]->pieces[order[l]->at].data;
            if (order[l]->pieces[order[l]->at].blocks < count) {
                count = order[l]->pieces[order[l]->at].blocks;
            }
        }
        kernel->blocks(states, heads, count, live);
        for (l = live; l-- > 0;) {
            sha256_lane *lane = order[l];
            sha256_piece *piece = &lane->pieces[lane->at];
            piece->data += count * SHA256_BLOCK_BYTES;
            piece->blocks -= count;
            if (piece->blocks || ++lane->at < lane->end) {
                continue;
            }
            sha256_digest(states[l], out + lane->message * SHA256_HASH_BYTES);
            if (next < n) {
                lane->message = next;
                sha256_lane_take(lane, prefix, data[next], sizes[next]);
                memcpy(states[l], SHA256_START, sizeof states[l]);
                next++;
            } else {
                /* Lanes behind this one have had their turn in this round: the last may move here. */
                live--;
                swapped = order[l];
                order[l] = order[live];
                order[live] = swapped;
                if (l != live) {
                    memcpy(states[l], states[live], sizeof states[l]);
                }
            }
        }
    }
}

#endif
