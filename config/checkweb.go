package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/mjl-/mox/dns"
)

// webInternals are the values of WebInternal.Service.
var webInternals = []string{"admin", "account", "webmail", "webapi"}

// web checks what web servers answer.
func (c *checker) web() {
	d := c.config.Dynamic
	has := func(l Listener) bool { return l.WebserverHTTP.Enabled || l.WebserverHTTPS.Enabled }
	s := c.dynamic("WebDomainRedirects")
	if len(d.WebDomainRedirects) > 0 && !s.listener(has) {
		s.bad("no listener in %s has WebserverHTTP or WebserverHTTPS", StaticName)
	}
	seen := map[dns.Domain]bool{}
	for _, name := range slices.Sorted(maps.Keys(d.WebDomainRedirects)) {
		s := s.in(name)
		from, okFrom := s.domain(name)
		to, okTo := s.domain(d.WebDomainRedirects[name])
		if okFrom && okTo && from == to {
			s.bad("leads to itself")
		}
		if okFrom && seen[from] {
			s.bad("is configured twice, in different spellings")
		}
		seen[from] = true
	}
	s = c.dynamic("WebHandlers")
	if len(d.WebHandlers) > 0 && !s.listener(has) {
		s.bad("no listener in %s has WebserverHTTP or WebserverHTTPS", StaticName)
	}
	if len(d.WebHandlers) > listMax {
		s.bad("more than %d", listMax)
	}
	for i, h := range d.WebHandlers {
		s.item(i).webHandler(h)
	}
}

func (s scope) webHandler(h WebHandler) {
	s.in("Domain").domain(h.Domain)
	s.in("PathRegexp").regexp(h.PathRegexp)
	if !strings.HasPrefix(h.PathRegexp, "^") {
		s.in("PathRegexp").bad("must begin with ^")
	}
	kinds := 0
	if h.WebStatic != nil {
		kinds++
		s.in("WebStatic").webStatic(h.WebStatic)
	}
	if h.WebRedirect != nil {
		kinds++
		s.in("WebRedirect").webRedirect(h.WebRedirect)
	}
	if h.WebForward != nil {
		kinds++
		s.in("WebForward.URL").url(h.WebForward.URL)
		s.in("WebForward.ResponseHeaders").headers(h.WebForward.ResponseHeaders)
	}
	if h.WebInternal != nil {
		kinds++
		s.in("WebInternal.BasePath").slashes(h.WebInternal.BasePath)
		if !slices.Contains(webInternals, h.WebInternal.Service) {
			s.in("WebInternal.Service").bad("%q is not one of: %s", h.WebInternal.Service, strings.Join(webInternals, " "))
		}
	}
	if kinds != 1 {
		s.bad("need exactly one of WebStatic, WebRedirect, WebForward and WebInternal")
	}
}

func (s scope) webStatic(h *WebStatic) {
	if h.StripPrefix != "" && !strings.HasPrefix(h.StripPrefix, "/") {
		s.in("StripPrefix").bad("must start with a slash")
	}
	s.in("Root").notEmpty(h.Root)
	s.in("ResponseHeaders").headers(h.ResponseHeaders)
}

// headers checks header fields to add to answers.
func (s scope) headers(headers map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if !isToken(name) {
			s.in(name).bad("%q is not a name of a header field", name)
		}
		s.in(name).headerValue(headers[name])
	}
}

func (s scope) webRedirect(h *WebRedirect) {
	if h.BaseURL == "" && h.OrigPathRegexp == "" {
		s.bad("need BaseURL or OrigPathRegexp")
	}
	if h.BaseURL != "" {
		u := s.in("BaseURL").url(h.BaseURL)
		if u != nil && (u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "") {
			s.in("BaseURL").bad("must not have a path, query or fragment")
		}
	}
	if (h.OrigPathRegexp == "") != (h.ReplacePath == "") {
		s.bad("need both of OrigPathRegexp and ReplacePath, or none")
	}
	s.in("OrigPathRegexp").regexp(h.OrigPathRegexp)
	if code := h.StatusCode; code != 0 && (code < 300 || code > 399) {
		s.in("StatusCode").bad("need 300 to 399")
	}
}
