package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
)

// metricName finds the names in a query.
var metricName = regexp.MustCompile(`\b(?:ratelimit_service|sallyport)_[a-z0-9_]+`)

// Every series that the dashboard asks for is there: those of the first rows in envoyproxy/ratelimit too, and all of them in ours.
func TestDashboardShowsWhatIsThere(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "docs", "grafana", "ratelimit.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Type, Title string
			Targets     []struct{ Expr string }
		}
		Templating struct{ List []struct{ Query any } }
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}
	folder := runtimeFolder(t, countedLimits)
	ports := [2]int{freePort(t), freePort(t)}
	env := func(i int) []string {
		return onStore(folder, storetest.StartValkey(t), "USE_STATSD=false", "USE_PROMETHEUS=true", "PROMETHEUS_ADDR="+local(ports[i]), "GOSTATS_FLUSH_INTERVAL_SECONDS=1", "STATS_FLUSH_INTERVAL=1s")
	}
	theirs, ours := startOriginal(t, env(0)...), runReference(t, env(1)...)
	agree(t, theirs, ours, 300)
	// What a healthy run has no event of: an error, and a file that does not load.
	for _, port := range []int{theirs.http, ours.http} {
		_, _ = (&reference{http: port}).json(`{}`)
	}
	write(t, filepath.Join(folder, "bad.yaml"), "domain: [")
	has := func(port int, name string) func() bool {
		return func() bool {
			_, page := get(local(port), "/metrics")
			return strings.Contains(page, "\n"+name+"{") || strings.Contains(page, "\n"+name+" ")
		}
	}
	row, asked := "", 0
	for _, panel := range dashboard.Panels {
		if panel.Type == "row" {
			row = panel.Title
		}
		for _, target := range panel.Targets {
			for _, name := range metricName.FindAllString(target.Expr, -1) {
				asked++
				eventually(t, strconv.Quote(panel.Title)+": ours shows "+name, has(ports[1], name))
				if strings.Contains(row, "envoyproxy/ratelimit") {
					eventually(t, strconv.Quote(panel.Title)+": the reference shows "+name, has(ports[0], name))
				}
			}
		}
	}
	if asked < 20 {
		t.Errorf("the dashboard asks for %d series", asked)
	}
}
