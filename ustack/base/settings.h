/* SPDX-License-Identifier: BSD-3-Clause */
/* Every setting, once: field, name, default of the linux and of the rfc
 * profile, least and greatest value, flags, help. Names follow Linux's sysctls
 * where there is one. Sizes are fixed when an engine is made; what is LIVE may
 * change afterwards.                                                        */
#pragma once
#include "../ustack.h"

enum { SETUP = 0, LIVE = UST_CONFIG_LIVE };

/* clang-format off */
#define SETTINGS(X) \
    X(engine_trace,       "engine.trace",            0, 0, 0, 1, LIVE, "1: keep a hash over all frames and their times") \
    X(engine_shortcuts,   "engine.shortcuts",        1, 1, 0, 1, LIVE, "0: no short ways for the commonest segments; both ways do the same, as tests show") \
    X(mbuf_small,         "mbuf.small",              16384, 16384, 16, 1 << 24, SETUP, "2 KiB buffers") \
    X(mbuf_large,         "mbuf.large",              512, 512, 0, 1 << 16, SETUP, "64 KiB buffers, for super-segments and bulk writes") \
    X(mbuf_refs,          "mbuf.refs",               16384, 16384, 16, 1 << 24, SETUP, "references to parts of buffers") \
    X(mbuf_reserve,       "mbuf.reserve",            64, 64, 0, 1 << 20, LIVE, "small buffers that data may not use, kept for control segments") \
    X(mbuf_share_part,    "mbuf.share_part",         2, 2, 1, 1024, LIVE, "a socket may hold, each way, one of so many parts of the free buffers") \
    X(mbuf_share_floor,   "mbuf.share_floor",        25, 25, 0, 90, LIVE, "percent of the buffers that are kept for sockets which hold little") \
    X(mbuf_share_least,   "mbuf.share_least",        16384, 16384, 2048, 1 << 30, LIVE, "bytes that count as little") \
    X(foreign_queue,      "foreign.queue",           1024, 1024, 1, 1 << 20, LIVE, "frames for other engines of the stack that may wait to be fetched") \
    X(foreign_ask_limit,  "foreign.ask_limit",       100000, 100000, 0, 100000000, LIVE, "frames a second, at most, that other engines of the stack are asked about, because nobody here knows their flow") \
    X(neigh_entries,        "neigh.entries",             512, 512, 4, 1 << 16, SETUP, "neighbour table entries") \
    X(neigh_reachable_ms,   "neigh.reachable_ms",        30000, 30000, 10, 86400000, LIVE, "how long a confirmed neighbour is trusted") \
    X(neigh_retrans_ms,     "neigh.retrans_ms",          1000, 1000, 10, 60000, LIVE, "time between requests for one neighbour") \
    X(neigh_probes,         "neigh.probes",              3, 3, 1, 20, LIVE, "requests before a neighbour counts as gone") \
    X(neigh_pending,        "neigh.pending",           64, 64, 1, 1024, LIVE, "packets that may wait for one neighbour") \
    X(neigh_pending_all,  "neigh.pending_all",       1024, 1024, 1, 1 << 20, LIVE, "packets that may wait for all neighbours together") \
    X(neigh_stale_ms,       "neigh.stale_ms",            60000, 60000, 10, 86400000, LIVE, "an unused neighbour is forgotten after this") \
    X(neigh_delay_ms,     "neigh.delay_ms",          5000, 5000, 0, 60000, LIVE, "a stale neighbour in use is asked again after this (RFC 4861 7.3.3)") \
    X(arp_defend_ms,      "arp.defend_ms",           10000, 10000, 100, 3600000, LIVE, "least time between defences of an address (RFC 5227 2.4)") \
    X(arp_announce,       "arp.announce",            1, 1, 0, 1, LIVE, "1: announce a new address with a gratuitous ARP") \
    X(ip_ttl,             "ip.default_ttl",          64, 64, 1, 255, LIVE, "TTL of packets we send (MUST-49)") \
    X(ip_pmtu_expires_ms, "ip.mtu_expires_ms",       600000, 600000, 1000, 86400000, LIVE, "a learnt path MTU is tried larger again after this (RFC 1191 6.3)") \
    X(ip_pmtu_entries,    "ip.mtu_entries",          256, 256, 1, 65536, SETUP, "path MTUs remembered") \
    X(ip_min_pmtu,        "ip.min_pmtu",             552, 552, 68, 1500, LIVE, "an IPv4 path MTU is never taken to be less") \
    X(frag_queues,        "ip.frag_queues",          64, 64, 1, 4096, SETUP, "datagrams that may wait for fragments, each in one large mbuf") \
    X(frag_per_source,    "ip.frag_per_source",      16, 16, 1, 4096, LIVE, "the same, of one source") \
    X(frag_timeout_ms,    "ip.frag_timeout_ms",      30000, 60000, 100, 120000, LIVE, "time for an IPv4 datagram's fragments to arrive") \
    X(frag6_timeout_ms,   "ip6.frag_timeout_ms",     60000, 60000, 100, 120000, LIVE, "the same for IPv6 (RFC 8200 4.5)") \
    X(ip6_hop_limit,      "ip6.hop_limit",           64, 64, 1, 255, LIVE, "hop limit of packets we send") \
    X(ip6_accept_ra,      "ip6.accept_ra",           0, 0, 0, 1, LIVE, "1: solicit routers and configure by their advertisements") \
    X(ip6_dad,            "ip6.dad_transmits",       1, 1, 0, 10, LIVE, "probes before an address counts as ours (RFC 4862 5.1)") \
    X(udp_max_socks,      "udp.max_socks",           1024, 1024, 1, 1 << 20, SETUP, "UDP sockets") \
    X(udp_rmem,           "udp.rmem",                212992, 212992, 2048, 1 << 30, LIVE, "receive buffer of a new UDP socket, bytes of buffer memory") \
    X(icmp_ratelimit,     "icmp.ratelimit",          1000, 1000, 0, 1000000, LIVE, "ICMP errors a second, at most") \
    X(icmp_echo_limit,    "icmp.echo_limit",         100000, 100000, 0, 10000000, LIVE, "echo replies a second, at most") \
    X(tcp_max_tcbs,       "tcp.max_tcbs",            16384, 16384, 1, 1 << 24, SETUP, "connections, listeners and unconnected sockets together") \
    X(tcp_max_listeners,  "tcp.max_listeners",       256, 256, 1, 65536, SETUP, "listening sockets") \
    X(tcp_max_syn_backlog, "tcp.max_syn_backlog",    4096, 4096, 1, 1 << 22, SETUP, "half-open connections of the whole engine") \
    X(tcp_syncookies,     "tcp.syncookies",          1, 1, 0, 2, LIVE, "1: answer SYNs that the SYN queue has no room for by a SYN cookie; 2: all SYNs; 0: none") \
    X(tcp_max_tw_buckets, "tcp.max_tw_buckets",      65536, 65536, 1, 1 << 24, SETUP, "TIME-WAIT records") \
    X(tcp_tw_reuse,       "tcp.tw_reuse",            2, 0, 0, 2, LIVE, "1: connect may take over a TIME-WAIT flow with timestamps that is a second old; 2: one of 127.0.0.0/8 and ::1; 0: never") \
    X(tcp_rfc1337,        "tcp.rfc1337",             1, 1, 0, 1, LIVE, "1: a RST does not end TIME-WAIT (RFC 1337); 0: it does, as by default in Linux") \
    X(tcp_max_reass,      "tcp.max_reass",           1024, 1024, 1, 1 << 20, SETUP, "connections that may hold out-of-order data at once") \
    X(tcp_timestamps,     "tcp.timestamps",          1, 1, 0, 1, LIVE, "timestamps option (RFC 7323)") \
    X(tcp_sack,           "tcp.sack",                1, 1, 0, 1, LIVE, "selective acknowledgments (RFC 2018)") \
    X(tcp_window_scaling, "tcp.window_scaling",      1, 1, 0, 1, LIVE, "window scale option (RFC 7323)") \
    X(tcp_rmem_min,       "tcp.rmem_min",            2304, 2304, 256, 1 << 30, LIVE, "least receive buffer that SO_RCVBUF gives") \
    X(tcp_rmem,           "tcp.rmem",                131072, 131072, 2048, 1 << 30, LIVE, "receive buffer of a new socket, bytes of memory; half of it is offered as window") \
    X(tcp_rmem_max,       "tcp.rmem_max",            6291456, 6291456, 2048, 1 << 30, LIVE, "largest receive buffer; decides the window scale") \
    X(tcp_moderate_rcvbuf, "tcp.moderate_rcvbuf",    1, 1, 0, 1, LIVE, "1: receive buffers grow up to tcp.rmem_max by what applications read") \
    X(tcp_rcvbuf_low_rtt, "tcp.rcvbuf_low_rtt",      1000, 1000, 0, 1000000, LIVE, "us; on a path with a shorter round trip receive buffers grow to 2 MiB at most") \
    X(tcp_wmem_min,       "tcp.wmem_min",            4608, 4608, 256, 1 << 30, LIVE, "least send buffer that SO_SNDBUF gives") \
    X(tcp_wmem,           "tcp.wmem",                16384, 16384, 2048, 1 << 30, LIVE, "send buffer of a new socket, bytes; it grows with the congestion window") \
    X(tcp_wmem_max,       "tcp.wmem_max",            4194304, 4194304, 2048, 1 << 30, LIVE, "largest send buffer") \
    X(tcp_notsent_lowat,  "tcp.notsent_lowat",       UINT32_MAX, UINT32_MAX, 0, UINT32_MAX, LIVE, "bytes not yet sent at which a send buffer counts as full") \
    X(tcp_fastopen,       "tcp.fastopen",            1, 1, 0, INT32_MAX, LIVE, "Fast Open (RFC 7413), bits as Linux: 1 clients, 2 servers, 4 clients and 0x200 servers without cookies, 0x400 every listener") \
    X(tcp_fastopen_key_s, "tcp.fastopen_key_s",      86400, 86400, 60, 31536000, LIVE, "seconds that a Fast Open cookie is good for, once or twice") \
    X(tcp_fastopen_blackhole_s, "tcp.fastopen_blackhole_timeout_sec", 0, 0, 0, 86400, LIVE, "seconds without Fast Open after it seemed to be filtered, doubling each time; 0: do not judge") \
    X(tcp_fastopen_peers, "tcp.fastopen_peers",      256, 256, 4, 1 << 20, SETUP, "servers whose Fast Open cookies are remembered") \
    X(tcp_syn_retries,    "tcp.syn_retries",         6, 7, 0, 127, LIVE, "SYNs sent again before connect fails") \
    X(tcp_synack_retries, "tcp.synack_retries",      5, 7, 0, 127, LIVE, "SYN-ACKs sent again before a half-open connection is dropped") \
    X(tcp_retries1,       "tcp.retries1",            3, 3, 1, 127, LIVE, "RTOs in a row before the way to the peer is doubted (R1, SHLD-10)") \
    X(tcp_retries2,       "tcp.retries2",            15, 15, 1, 127, LIVE, "RTOs in a row before a connection is given up (R2)") \
    X(tcp_orphan_retries, "tcp.orphan_retries",      8, 8, 1, 127, LIVE, "the same for a connection that its application has closed") \
    X(tcp_rto_init_ms,    "tcp.rto_init_ms",         1000, 1000, 10, 60000, LIVE, "RTO before the first measurement (RFC 6298 2.1)") \
    X(tcp_rto_min_ms,     "tcp.rto_min_ms",          200, 1000, 1, 120000, LIVE, "least distance of RTO and SRTT") \
    X(tcp_rto_max_ms,     "tcp.rto_max_ms",          120000, 120000, 1000, 600000, LIVE, "largest RTO") \
    X(tcp_delack_ms,      "tcp.delack_ms",           40, 200, 1, 499, LIVE, "an ACK waits for data no longer than this (MUST-40), at first") \
    X(tcp_delack_max_ms,  "tcp.delack_max_ms",       200, 200, 1, 499, LIVE, "nor this, where segments come slowly") \
    X(tcp_quickack_segs,  "tcp.quickack_segs",       16, 0, 0, 65535, LIVE, "segments acknowledged at once when a connection starts, at most; 0: never any") \
    X(tcp_congestion,     "tcp.congestion_control",  UST_CC_CUBIC, UST_CC_RENO, 0, UST_CCS - 1, LIVE, "congestion control of a new socket") \
    X(tcp_max_cc_states,  "tcp.max_cc_states",       16384, 16384, 1, 1 << 24, SETUP, "connections that may send at once by a congestion control with a state (others use reno)") \
    X(tcp_ecn,            "tcp.ecn",                 2, 2, 0, 5, LIVE, "ECN: 0 none; 1 asked for and given; 2 given to who asks; AccECN: 3 asked for and given; 4 given, ECN asked for; 5 given to who asks") \
    X(tcp_ecn_option,     "tcp.ecn_option",          2, 2, 0, 3, LIVE, "AccECN option: 0 never; 1 when a count has changed; 2, 3 wherever it fits") \
    X(tcp_pacing,         "tcp.pacing",              1, 0, 0, 1, LIVE, "1: text leaves spread over a round trip, not a window at once") \
    X(tcp_pacing_ss,      "tcp.pacing_ss_ratio",     200, 200, 10, 1000, LIVE, "pacing rate in slow start, percent of a window each round trip") \
    X(tcp_pacing_ca,      "tcp.pacing_ca_ratio",     120, 120, 10, 1000, LIVE, "the same in congestion avoidance") \
    X(tcp_initial_window, "tcp.initial_window",      10, 10, 1, 100, LIVE, "initial congestion window, segments (RFC 6928)") \
    X(tcp_min_snd_mss,    "tcp.min_snd_mss",         48, 48, 48, 1460, LIVE, "the peer's MSS is taken to be at least this") \
    X(tcp_default_mss,    "tcp.default_mss",         536, 536, 48, 65535, LIVE, "an IPv4 peer's MSS when it sends no option (MUST-15)") \
    X(tcp_idle_restart,   "tcp.slow_start_after_idle", 1, 1, 0, 1, LIVE, "1: fall back to the initial window after an idle RTO (RFC 5681 4.1)") \
    X(tcp_dupacks,        "tcp.reordering",          3, 3, 1, 300, LIVE, "duplicate ACKs that mean a loss (RFC 5681 3.2)") \
    X(tcp_max_orphans,    "tcp.max_orphans",         12288, 12288, 0, 1 << 24, LIVE, "closed connections that may still wait for their peers") \
    X(tcp_max_reordering, "tcp.max_reordering",      300, 300, 1, 65535, LIVE, "the same at most, when segments are seen to overtake each other") \
    X(tcp_recovery,       "tcp.recovery",            1, 1, 0, 7, LIVE, "bits, as Linux: 1 RACK decides what is lost (RFC 8985), else RFC 6675; 2 its window does not adapt; 4 nor is it closed by three duplicates") \
    X(tcp_early_retrans,  "tcp.early_retrans",       3, 3, 0, 4, LIVE, "3, 4: probe for a lost tail before the RTO (RFC 8985 7)") \
    X(tcp_frto,           "tcp.frto",                2, 1, 0, 2, LIVE, "1, 2: find out whether a timeout was spurious (RFC 5682)") \
    X(tcp_dsack,          "tcp.dsack",               1, 1, 0, 1, LIVE, "1: report text that came twice (RFC 2883)") \
    X(tcp_rto_restart,    "tcp.rto_restart",         0, 0, 0, 1, LIVE, "1: count the RTO from the first of a short flight (RFC 7765)") \
    X(tcp_extras,         "tcp.max_extras",          0, 0, 0, 1 << 24, SETUP, "connections that may have options set, ECN, or losses to count; 0: as many as tcp.max_tcbs") \
    X(tcp_flights,        "tcp.max_flights",         0, 0, 0, 1 << 24, SETUP, "connections that may have text in flight at once, others wait; 0: as many as tcp.max_tcbs") \
    X(tcp_idle_flights,   "tcp.idle_flights",        1024, 1024, 0, 1 << 24, LIVE, "of them that stay with a connection that is idle, half of all at most: memory for speed") \
    X(tcp_sents,          "tcp.sent_records",        65536, 65536, 0, 1 << 26, SETUP, "transmission records of all connections, beside the one that each with text in flight has") \
    X(tcp_max_sent,       "tcp.max_sent_records",    1024, 1024, 2, 1 << 20, LIVE, "the same, of one connection; bounds the work that SACK blocks can cause") \
    X(tcp_fin_timeout_ms, "tcp.fin_timeout_ms",      60000, 60000, 100, 3600000, LIVE, "orphaned FIN-WAIT-2 ends after this") \
    X(tcp_timewait_ms,    "tcp.timewait_ms",         60000, 240000, 0, 3600000, LIVE, "TIME-WAIT, 2 MSL (MUST-13)") \
    X(tcp_challenge_ms,   "tcp.invalid_ratelimit_ms", 500, 500, 0, 60000, LIVE, "least time between a connection's ACKs for segments it does not accept") \
    X(tcp_challenge_limit, "tcp.challenge_ack_limit", 10, 10, 0, 1000000, LIVE, "challenge ACKs a connection may send each second") \
    X(tcp_keepalive_time, "tcp.keepalive_time",      7200, 7200, 1, 32767, LIVE, "idle seconds before the first keep-alive (MUST-28)") \
    X(tcp_keepalive_intvl, "tcp.keepalive_intvl",    75, 75, 1, 32767, LIVE, "seconds between keep-alives") \
    X(tcp_keepalive_probes, "tcp.keepalive_probes",  9, 9, 1, 127, LIVE, "unanswered keep-alives before the connection is dropped") \
    X(tcp_max_ooo,        "tcp.max_ooo_ranges",      256, 256, 1, 256, LIVE, "out-of-order ranges a connection may hold") \
    X(tcp_rst_limit,      "tcp.rst_ratelimit",       1000, 1000, 0, 10000000, LIVE, "RSTs a second for segments of no connection, at most") \
    X(tcp_port_min,       "tcp.port_min",            32768, 49152, 1, 65535, LIVE, "first ephemeral port (RFC 6056)") \
    X(tcp_port_max,       "tcp.port_max",            60999, 65535, 1, 65535, LIVE, "last ephemeral port")
/* clang-format on */

struct settings {
#define X(field, name, linux_default, rfc_default, lo, hi, flags, help) int64_t field;
    SETTINGS(X)
#undef X
};
