/* The packets of the reference floor. A packet is a row of frames: four bytes length of the whole
   frame, four bytes kind, 64 bytes attestation if the relay sent it, the payload. */
#ifndef PEERS_FLOOR_H
#define PEERS_FLOOR_H

enum { FRAME_HEAD_BYTES = 8, ATTESTATION_BYTES = 64, PACKET_BYTES_MAX = 262144 };
enum { KIND_PUBLISH = 1, KIND_DELIVER = 2, KIND_I_PUBLISH = 3, KIND_I_SUBSCRIBE = 4 };

#endif
