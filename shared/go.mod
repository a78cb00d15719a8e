module github.com/riposte-dev/riposte/shared

go 1.25.0
