package compat

import (
	"errors"
	"math"
	"net"
	"strconv"
	"strings"
	"time"
)

// A reader takes the value of one variable that is set. It returns why the value has no effect, if it has none; its errors do not
// quote the value, which may be a secret.
type reader func(value string) (noEffect string, err error)

func text(to *string) reader {
	return func(value string) (string, error) {
		*to = value
		return "", nil
	}
}

func truth(to *bool) reader {
	return func(value string) (string, error) {
		v, err := strconv.ParseBool(value)
		if err != nil {
			return "", errors.New("does not hold true or false")
		}
		*to = v
		return "", nil
	}
}

func duration(to *time.Duration) reader {
	return func(value string) (string, error) {
		v, err := time.ParseDuration(value)
		if err != nil || v < 0 {
			return "", errors.New("does not hold a time such as 10s")
		}
		*to = v
		return "", nil
	}
}

// age reads the life of a connection: for ever, or long enough to be of use.
func age(to *time.Duration) reader {
	return func(value string) (string, error) {
		if _, err := duration(to)(value); err != nil || *to > 0 && *to < time.Second {
			return "", errors.New("does not hold 0s or a time of a second or more")
		}
		return "", nil
	}
}

func interval(to *time.Duration) reader {
	return func(value string) (string, error) {
		if _, err := duration(to)(value); err != nil || *to == 0 {
			return "", errors.New("does not hold a time above zero such as 10s")
		}
		return "", nil
	}
}

// number reads a whole number from least to most. Like envconfig it takes 0x10 and 010 for other bases.
func number(to *int, least, most int64) reader {
	return func(value string) (string, error) {
		v, err := strconv.ParseInt(value, 0, 0)
		if err != nil || v < least || v > most {
			return "", errors.New("does not hold a number from " + strconv.FormatInt(least, 10) + " to " + strconv.FormatInt(most, 10))
		}
		*to = int(v)
		return "", nil
	}
}

// port reads a port. What Kubernetes puts into every container beside a Service of a like name is no port, and gets a hint.
func port(to *int) reader {
	return func(value string) (string, error) {
		if strings.HasPrefix(value, "tcp://") || strings.HasPrefix(value, "udp://") {
			return "", errors.New("holds the link of a Kubernetes Service and no port: set enableServiceLinks: false in the pod, or set the variable")
		}
		return number(to, 0, math.MaxUint16)(value)
	}
}

func ratio(to *float64) reader {
	return func(value string) (string, error) {
		v, err := strconv.ParseFloat(value, 64)
		if err != nil || !(v >= 0 && v <= 1) {
			return "", errors.New("does not hold a number from 0 to 1")
		}
		*to = v
		return "", nil
	}
}

// pairs reads "key:value,key:value".
func pairs(to *map[string]string) reader {
	return func(value string) (string, error) {
		if strings.TrimSpace(value) == "" {
			return "", nil
		}
		m := map[string]string{}
		for pair := range strings.SplitSeq(value, ",") {
			k, v, ok := strings.Cut(pair, ":")
			if !ok || k == "" {
				return "", errors.New("does not hold key:value,key:value")
			}
			m[k] = v
		}
		*to = m
		return "", nil
	}
}

// oneOf reads one of some words, in any letter case; the first spelling is kept.
func oneOf(to *string, words ...string) reader {
	return func(value string) (string, error) {
		for _, word := range words {
			if strings.EqualFold(word, value) {
				*to = word
				return "", nil
			}
		}
		return "", errors.New("does not hold " + strings.Join(words, " or "))
	}
}

// level reads a level of logrus; what has none here is the nearest.
func level(to *string) reader {
	words := map[string]string{"trace": "debug", "debug": "debug", "info": "info", "warn": "warn", "warning": "warn", "error": "error", "fatal": "error", "panic": "error"}
	return func(value string) (string, error) {
		word, ok := words[strings.ToLower(value)]
		if !ok {
			return "", errors.New("does not hold trace, debug, info, warn, error, fatal or panic")
		}
		*to = word
		return "", nil
	}
}

// listenAddress reads "host:port" or ":port".
func listenAddress(to *Address) reader {
	return func(value string) (string, error) {
		host, service, err := net.SplitHostPort(value)
		if err != nil {
			return "", errors.New("does not hold an address such as :9090")
		}
		to.Host = host
		return port(&to.Port)(service)
	}
}

// ignored is a variable that has no effect whatever it holds.
func ignored(why string) reader {
	return func(string) (string, error) { return why, nil }
}

// onlyOff has an effect where it switches off what does not exist here, and none where it asks for it.
func onlyOff(why string) reader {
	return func(value string) (string, error) {
		on := false
		if _, err := truth(&on)(value); err != nil || !on {
			return "", err
		}
		return why, nil
	}
}
