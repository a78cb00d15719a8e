module github.com/riposte-dev/riposte/deploy/local

go 1.25.0
