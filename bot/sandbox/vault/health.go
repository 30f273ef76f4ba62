package vault

import (
	"net/http"
	"strconv"
)

// statusPaths need no token and answer in every state.
var statusPaths = map[string]bool{"sys/health": true, "sys/seal-status": true, "sys/init": true, "sys/leader": true}

func (s *Server) status(r *request) (*response, error) {
	switch r.path {
	case "sys/seal-status":
		return &response{raw: s.sealStatus()}, nil
	case "sys/init":
		return &response{raw: map[string]any{"initialized": !s.uninitialised}}, nil
	case "sys/leader":
		return &response{raw: map[string]any{
			"ha_enabled": false, "is_self": false, "active_time": "0001-01-01T00:00:00Z", "leader_address": "",
			"leader_cluster_address": "", "performance_standby": false, "performance_standby_last_remote_wal": 0,
		}}, nil
	}
	return s.healthOf(r)
}

// clustered reports whether the node is one of several, which adds a field.
func (s *Server) clustered() bool { return s.standby && !s.locked() }

func (s *Server) locked() bool { return s.sealed || s.uninitialised }

func (s *Server) sealStatus() map[string]any {
	shares, storage := 1, "inmem"
	if s.uninitialised {
		shares = 0
	}
	body := map[string]any{
		"type": "shamir", "initialized": !s.uninitialised, "sealed": s.locked(), "t": shares, "n": shares, "progress": 0,
		"nonce": "", "version": Version, "build_date": "2025-10-21T00:00:00Z", "recovery_seal": false, "migration": false,
	}
	if !s.locked() {
		body["cluster_name"], body["cluster_id"] = clusterName, s.clusterID
	}
	if s.clustered() {
		body["removed_from_cluster"], storage = false, "raft"
	}
	body["storage_type"] = storage
	return body
}

const clusterName = "tac-sandbox"

func (s *Server) healthOf(r *request) (*response, error) {
	for _, name := range []string{"activecode", "standbycode", "sealedcode", "uninitcode"} {
		if text := r.in.text(name); text != "" {
			if n, err := strconv.Atoi(text); err != nil || n < 100 || n > 999 {
				return nil, &apiError{http.StatusBadRequest, []string{}}
			}
		}
	}
	code, replication := codeParam(r, "activecode", http.StatusOK), "disabled"
	switch {
	case s.uninitialised:
		code = codeParam(r, "uninitcode", http.StatusNotImplemented)
	case s.sealed:
		code = codeParam(r, "sealedcode", http.StatusServiceUnavailable)
	case s.standby && r.in.text("standbyok") != "true":
		code = codeParam(r, "standbycode", http.StatusTooManyRequests)
	}
	if s.locked() {
		replication = "unknown"
	}
	body := map[string]any{
		"initialized": !s.uninitialised, "sealed": s.locked(), "standby": s.standby || s.locked(), "performance_standby": false,
		"replication_performance_mode": replication, "replication_dr_mode": replication,
		"server_time_utc": s.clock.Now().Unix(), "version": Version, "enterprise": false,
		"echo_duration_ms": 0, "clock_skew_ms": 0, "replication_primary_canary_age_ms": 0,
	}
	if s.clustered() {
		body["removed_from_cluster"], body["ha_connection_healthy"] = false, s.leader != nil
		body["last_request_forwarding_heartbeat_ms"] = 0
	}
	if !s.locked() {
		body["cluster_name"], body["cluster_id"] = clusterName, s.clusterID
	}
	if s.health != 0 {
		code = s.health
		body["initialized"] = code != http.StatusNotImplemented
		body["performance_standby"] = code == 473
		if code == 472 {
			body["replication_dr_mode"] = "secondary"
		}
	}
	return &response{status: code, raw: body}, nil
}

// codeParam is a status that the caller wants in place of another.
func codeParam(r *request, name string, absent int) int {
	if n, err := strconv.Atoi(r.in.text(name)); err == nil {
		return n
	}
	return absent
}
