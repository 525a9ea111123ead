/* SPDX-License-Identifier: BSD-3-Clause */
/* What joins cables: a switch, which knows each host's MAC by its number, and
 * the router that speaks up when a cable is too narrow for a packet (RFC 1191,
 * RFC 4443 3.2).
 *
 * Not here: fragmentation. A packet without DF that does not fit is dropped, too,
 * in silence.                                                               */
#include "sim.h"

#include <string.h>

#include "../base/checksum.h"

enum {
    MAC_LEN = 6,
    IPV4 = 20,
    IPV6 = 40,
    ICMP = 8,
    QUOTE4 = 548,                /* RFC 1812 4.3.2.3: an error is at most 576 bytes */
    QUOTE6 = 1280 - IPV6 - ICMP, /* RFC 4443 3.2 */
    DONT_FRAGMENT = 0x40,
};

void sim_forward(struct ust_sim *sim, int32_t node, int32_t link, const uint8_t *frame, size_t len)
{
    uint32_t host = (uint32_t)frame[4] << 8 | frame[5];

    if (len < ETHERNET)
        return;
    if (!(frame[0] & 1)) {
        if (host < SIM_NODES && sim->nodes[node].forward[host] >= 0)
            sim_send(sim, sim->nodes[node].forward[host], frame, len);
        return;
    }
    for (uint32_t i = 0; i < sim->n_links; i++)
        if (sim->cables[i].from == node && (int32_t)i != (link ^ 1))
            sim_send(sim, (int32_t)i, frame, len);
}

/* ------------------------------------------------------- packet too big */

static void store16(uint8_t *p, uint64_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void store_checksum(uint8_t *field, uint64_t sum)
{
    uint16_t folded = checksum_finish(sum);

    memcpy(field, &folded, 2);
}

/* Fragmentation needed: the answer's length, 0 for none. */
static size_t build_icmp4(uint8_t *out, const struct ust_addr *router, const uint8_t *packet,
                          size_t len, uint32_t mtu)
{
    size_t quote = len < QUOTE4 ? len : QUOTE4;
    uint8_t *icmp = out + IPV4;

    if (len < IPV4 || !(packet[6] & DONT_FRAGMENT))
        return 0;
    memset(out, 0, IPV4 + ICMP);
    out[0] = 0x45;
    store16(out + 2, IPV4 + ICMP + quote);
    out[8] = 64;
    out[9] = 1;
    memcpy(out + 12, router->b + 12, 4);
    memcpy(out + 16, packet + 12, 4);
    store_checksum(out + 10, checksum_add(out, IPV4, 0));
    icmp[0] = 3;
    icmp[1] = 4;
    store16(icmp + 6, mtu);
    memcpy(icmp + ICMP, packet, quote);
    store_checksum(icmp + 2, checksum_add(icmp, ICMP + quote, 0));
    return IPV4 + ICMP + quote;
}

static size_t build_icmp6(uint8_t *out, const struct ust_addr *router, const uint8_t *packet,
                          size_t len, uint32_t mtu)
{
    size_t quote = len < QUOTE6 ? len : QUOTE6;
    uint8_t *icmp = out + IPV6, pseudo[8] = {0};

    if (len < IPV6)
        return 0;
    memset(out, 0, IPV6 + ICMP);
    out[0] = 0x60;
    store16(out + 4, ICMP + quote);
    out[6] = 58;
    out[7] = 64;
    memcpy(out + 8, router->b, 16);
    memcpy(out + 24, packet + 8, 16);
    icmp[0] = 2;
    store16(icmp + 4, mtu >> 16);
    store16(icmp + 6, mtu);
    memcpy(icmp + ICMP, packet, quote);
    store16(pseudo + 2, ICMP + quote);
    pseudo[7] = 58;
    store_checksum(icmp + 2, checksum_add(icmp, ICMP + quote,
                                          checksum_add(pseudo, 8, checksum_add(out + 8, 32, 0))));
    return IPV6 + ICMP + quote;
}

void sim_answer_too_big(struct ust_sim *sim, int32_t link, const uint8_t *frame, size_t len)
{
    const struct sim_cable *c = &sim->cables[link];
    uint32_t mtu = c->link->cfg.mtu;
    uint8_t answer[ETHERNET + 1280];
    size_t n;

    if (frame[12] == 0x08 && frame[13] == 0)
        n = build_icmp4(answer + ETHERNET, &c->router, frame + ETHERNET, len - ETHERNET, mtu);
    else
        n = build_icmp6(answer + ETHERNET, &c->router, frame + ETHERNET, len - ETHERNET, mtu);
    if (n == 0)
        return;
    memcpy(answer, frame + MAC_LEN, MAC_LEN);
    memcpy(answer + MAC_LEN, frame, MAC_LEN);
    memcpy(answer + 2 * MAC_LEN, frame + 2 * MAC_LEN, 2);
    sim_arrive(sim, c->from, link ^ 1, answer, ETHERNET + n);
}
